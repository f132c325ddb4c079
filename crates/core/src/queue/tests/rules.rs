//! The rules of the queue, a script each.

use alloc::{format, string::String, vec::Vec};
use core::{fmt::Write as _, time::Duration};

use super::script::{RealQueue, at, path, play};
use crate::{
    job::Scope,
    queue::{Debounce, DirtySet, QueueLimits, Settled},
};

/// A delay of 10 ms, or five paths at once; small limits.
fn check(script: &str) {
    let debounce = Debounce::FixedDelay { delay: Duration::from_millis(10), max_waiting: 5 };
    let limits = QueueLimits { per_directory: 5, paths: 8, failed: 4, hints: 3 };
    play(&mut RealQueue::new(debounce, limits), script);
}

/// Without an explicit delay.
fn check_quiet(script: &str) {
    play(&mut RealQueue::new(Debounce::default(), QueueLimits::default()), script);
}

#[test]
fn an_empty_queue_is_never_due() {
    check(
        "0 due -> none
         0 take ->
         0 flush ->
         0 oldest -> none",
    );
}

#[test]
fn all_paths_are_due_with_the_oldest_mark() {
    check(
        "0  mark /a
         9  mark /b
         9  take ->
         9  due -> 10
         10 take -> /a /b
         10 due -> none
         10 counts -> 0 0 2 0",
    );
}

#[test]
fn an_urgent_mark_makes_the_whole_queue_due() {
    check(
        "0  mark /a
         3  urgent /
         3  due -> 3
         3  take -> /
         4  urgent /b
         4  due -> none
         5  settle 1 all
         5  due -> 4
         5  take -> /b
         5  settle 2 except /b
         6  urgent /b
         6  take -> /b
         7  settle 3 all
         7  counts -> 0 0 0 0",
    );
}

#[test]
fn a_full_queue_is_due_at_once() {
    check(
        "0  mark /a
         1  mark /b
         2  mark /c/a
         3  mark /c/b
         3  mark /c/b
         3  due -> 10
         4  mark /d
         4  due -> 0
         4  take -> /a /b /c/a /c/b /d",
    );
}

#[test]
fn a_single_change_is_due_after_a_short_quiet_time() {
    check_quiet(
        "0   mark /a
         0   due -> 100
         99  take ->
         100 take -> /a",
    );
}

#[test]
fn a_burst_is_dispatched_together_within_a_second() {
    check_quiet(
        "0    mark /a
         90   mark /b
         180  mark /b
         180  due -> 280
         950  mark /c
         950  due -> 1000
         1000 take -> /a /b /c",
    );
}

#[test]
fn a_change_that_is_expected_to_come_alone_is_due_at_once() {
    check_quiet(
        "1000 mark /a
         1100 take -> /a
         1101 settle 1 all
         1300 mark /b
         1300 due -> 1305
         1302 move /c /d
         1305 take ->
         1307 take -> /b /c /d | /c=>/d
         1308 settle 2 all
         1404 mark /e
         1404 due -> 1409
         1409 take -> /e
         1410 settle 3 all
         1410 mark /f
         1410 due -> 1510
         1509 mark /g
         1609 take -> /f /g",
    );
}

#[test]
fn a_burst_is_recognised_before_its_first_part_is_due() {
    check_quiet(
        "1000 mark /a
         1100 take -> /a
         1101 settle 1 all
         1300 mark /b
         1304 mark /c
         1304 due -> 1309
         1306 mark /d
         1306 due -> 1406
         1309 take ->
         1406 take -> /b /c /d",
    );
}

#[test]
fn after_a_burst_the_next_change_waits_for_others_except_after_a_calm_minute() {
    check_quiet(
        "1000   mark /a
         1006   mark /b
         1106   take -> /a /b
         1106   settle 1 all
         59000  mark /c
         59000  due -> 59100
         59006  mark /d
         59106  take -> /c /d
         59106  settle 2 all
         119006 mark /e
         119006 due -> 119011
         119011 take -> /e
         119012 mark /f
         119012 due -> 119112",
    );
}

/// Marks a path every so many milliseconds, from `start` on.
fn marks(start: usize, number: usize, every: usize) -> String {
    let marks: Vec<_> =
        (0..number).map(|mark| format!("{} mark /f\n", start + every * mark)).collect();
    marks.concat()
}

#[test]
fn a_dense_burst_is_due_when_its_pauses_say_that_it_is_over() {
    check_quiet(&format!(
        "{}
         1030 due -> 1130
         1031 mark /f
         1031 due -> 1051
         1040 mark /f
         1040 due -> 1076
         1076 take -> /f
         1077 settle 1 all",
        marks(1000, 31, 1)
    ));
    // Its pauses are too long for an early end.
    check_quiet(&format!("{}1930 due -> 2000", marks(1000, 32, 30)));
}

#[test]
fn a_burst_that_went_on_after_its_expected_end_makes_the_next_one_wait() {
    let due = |time: usize, due: usize| format!("{time} due -> {due}\n");
    check_quiet(
        &[
            marks(1000, 40, 1),
            due(1039, 1059),
            // It goes on after 30 ms.
            "1059 take -> /f\n1059 settle 1 all\n1069 mark /f\n".into(),
            due(1069, 1169),
            "1169 take -> /f\n1169 settle 2 all\n".into(),
            marks(2000, 40, 1),
            due(2039, 2139),
            "2139 take -> /f\n2139 settle 3 all\n".into(),
            // That one did not go on.
            marks(3000, 40, 1),
            due(3039, 3059),
        ]
        .concat(),
    );
}

#[test]
fn a_deferred_lone_change_is_due_with_the_settlement() {
    check_quiet(
        "100000 mark /a
         100005 take -> /a
         101000 mark /a
         101000 due -> none
         101020 settle 1 all
         101020 due -> 101005
         101020 take -> /a",
    );
}

/// With a pause of 250 ms, 500 ms and 1 s after each run.
#[test]
fn a_path_that_changes_again_and_again_is_transferred_with_growing_pauses() {
    check(
        "0    write /log
         10   take -> /log
         11   write /log
         20   settle 1 all
         21   take -> /log
         22   write /log
         30   settle 2 all
         30   due -> 280
         31   mark /log
         32   mark /other
         42   take -> /other
         43   settle 3 all
         43   counts -> 1 0 0 0
         43   oldest -> 22
         280  take -> /log
         280  observed 4 -> written /log
         281  write /log
         290  settle 4 all
         290  due -> 790
         790  take -> /log
         791  write /log
         800  settle 5 all
         800  due -> 1800
         1800 take -> /log
         1801 write /log
         1810 settle 6 all
         2810 take -> /log
         2820 settle 7 all
         4821 write /log
         4821 due -> 4831
         4831 take -> /log",
    );
}

#[test]
fn the_pause_after_a_long_run_is_longer() {
    check(
        "0      write /big
         10     take -> /big
         11     write /big
         20     settle 1 all
         21     take -> /big
         22     write /big
         2021   settle 2 all
         2021   due -> 8021
         8021   take -> /big
         9000   write /big
         90000  settle 3 all
         90000  due -> 150000",
    );
}

#[test]
fn hot_paths_are_transferred_together() {
    check(
        "0    write /a
         0    write /b
         10   take -> /a /b
         11   write /a
         20   settle 1 all
         21   take -> /a
         22   write /a
         30   settle 2 all
         40   write /b
         50   take -> /b
         51   write /b
         60   settle 3 all
         200  write /c
         270  take -> /c
         271  settle 4 all
         271  due -> 280
         280  take -> /a /b
         290  settle 5 all",
    );
}

/// Files that change twice each, while another one changes again and again.
#[test]
fn a_pause_is_not_prolonged_for_paths_that_wait_for_its_end() {
    let second_run = |number: usize| {
        let start = 40 + 100 * number;
        let [first, settled] = [3 + 2 * number, 4 + 2 * number];
        format!(
            "{start} write /f{number}
             {} take -> /f{number}
             {} settle {first} all
             {} write /f{number}
             {} take -> /f{number}
             {} settle {settled} all\n",
            start + 10,
            start + 11,
            start + 12,
            start + 22,
            start + 23,
        )
    };
    let others: String = [0, 1].map(second_run).concat();
    check(&format!(
        "0   write /log
         10  take -> /log
         11  write /log
         20  settle 1 all
         21  take -> /log
         22  write /log
         30  settle 2 all
         30  due -> 280
         {others}
         163 due -> 280
         280 take -> /log"
    ));
}

/// Such as one that stalled for a minute, and was then killed.
#[test]
fn a_run_that_transferred_nothing_causes_no_pause() {
    check(
        "0     write /log
         10    take -> /log
         11    write /log
         20    settle 1 all
         21    take -> /log
         60021 settle 2 nothing
         60021 take -> /log
         60030 settle 3 all
         60031 write /log
         60040 take ->
         60040 due -> 60280",
    );
}

#[test]
fn a_flush_and_a_rescan_do_not_wait_for_a_pause() {
    check(
        "0   write /d/a
         10  take -> /d/a
         11  write /d/a
         20  settle 1 all
         21  take -> /d/a
         22  write /d/a
         30  settle 2 all
         31  urgent /d/
         31  take -> /d/
         31  observed 3 -> written /d/a
         40  settle 3 all
         41  write /d/a
         42  flush -> /d/a
         50  settle 4 all
         51  write /d/a
         70  take ->
         71  make-due
         71  take -> /d/a",
    );
}

/// A file that is replaced by a new one of the same temporary name.
#[test]
fn a_hot_path_that_is_replaced_keeps_its_pause() {
    check(
        "0   write /new
         1   move /new /a
         10  take -> /a /new | /new=>/a
         11  write /new
         12  move /new /a
         20  settle 1 all
         20  take ->
         21  take -> /a /new | /new=>/a
         30  settle 2 all
         31  write /new
         32  move /new /a
         32  due -> 280
         33  move /a /b
         34  due -> 280
         280 take -> /a /b /new | /new=>/a /a=>/b",
    );
}

#[test]
fn a_mark_is_not_absorbed_by_a_batch_in_flight() {
    check(
        "0  mark /a
         10 take -> /a
         11 mark /a
         11 counts -> 0 1 1 0
         11 due -> none
         30 take ->
         31 settle 1 all
         31 due -> 21
         31 take -> /a",
    );
}

#[test]
fn only_paths_that_touch_a_batch_in_flight_are_deferred() {
    check(
        "0  mark /d/a
         10 take -> /d/a
         11 mark /d/
         11 mark /d/b
         11 mark /d
         11 mark /e
         11 counts -> 1 1 1 0
         21 take -> /e
         22 settle 1 all
         22 take -> /d/",
    );
}

#[test]
fn a_deferred_directory_does_not_starve() {
    check(
        "0  mark /d/a
         10 take -> /d/a
         11 mark /d/
         12 mark /d/b
         22 take ->
         23 settle 1 all
         23 take -> /d/",
    );
}

#[test]
fn a_path_is_deferred_until_all_touching_batches_are_settled() {
    check(
        "0  mark /d/a
         10 take -> /d/a
         10 mark /d/b
         20 take -> /d/b
         21 mark /d/
         22 settle 1 all
         40 take ->
         41 settle 2 all
         41 take -> /d/",
    );
}

#[test]
fn a_rename_marks_both_ends_and_is_a_hint() {
    check(
        "0  move /a /b
         1  move /d/ /e/
         10 take -> /a /b /d/ /e/ | /a=>/b /d=>/e",
    );
}

#[test]
fn rename_hints_are_kept_in_reported_order() {
    check(
        "0  move /a /b
         1  move /b /c
         10 take -> /a /b /c | /a=>/b /b=>/c
         10 settle 1 all
         20 move /a /b
         20 move /b /a
         30 take -> /a /b | /a=>/b /b=>/a
         30 settle 2 all
         2100 move /a /b
         2100 move /c /b
         2101 move /a /b
         2110 take -> /a /b /c | /c=>/b /a=>/b",
    );
}

#[test]
fn rename_hints_are_bounded() {
    check(
        "0  move /a /b
         0  move /d/c /d/d
         0  move /d/e /d/f
         0  move /g /h
         0  move /d/f /b
         0  take -> /a /b /d/c /d/d /d/e /d/f /g /h | /a=>/b /d/c=>/d/d /d/e=>/d/f",
    );
}

#[test]
fn both_ends_of_a_rename_are_dispatched_together() {
    check(
        "0  mark /d/x
         10 take -> /d/x
         11 move /d/ /e/
         11 counts -> 0 2 1 0
         21 take ->
         22 settle 1 all
         22 take -> /d/ /e/ | /d=>/e",
    );
}

#[test]
fn both_ends_of_a_rename_are_deferred_until_both_batches_are_settled() {
    check(
        "0  mark /a
         10 take -> /a
         10 mark /b
         20 take -> /b
         21 move /a /b
         22 settle 1 all
         40 take ->
         41 settle 2 all
         41 take -> /a /b | /a=>/b",
    );
}

#[test]
fn the_backoff_of_a_failed_path_doubles() {
    check(
        "0    mark /a
         0    mark /b
         10   take -> /a /b
         20   settle 1 except /a
         20   counts -> 0 0 0 1
         20   oldest -> 0
         20   due -> 1020
         1019 take ->
         1020 take -> /a
         1030 settle 2 except /a
         1030 due -> 3030
         3030 take -> /a
         3030 settle 3 except /a
         3030 due -> 7030
         7030 take -> /a
         7031 settle 4 all
         7031 due -> none
         7031 oldest -> none
         8000 mark /a
         8010 take -> /a
         8010 settle 5 except /a
         8010 due -> 9010",
    );
}

#[test]
fn the_backoff_is_at_most_five_minutes() {
    let mut script = String::from("0 mark /a\n 10 take -> /a\n");
    let mut now = 10;
    for (batch, rest) in (1..).zip([1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]) {
        let due = now + rest * 1000;
        writeln!(script, "{now} settle {batch} except /a").unwrap();
        writeln!(script, "{now} due -> {due}\n {due} take -> /a").unwrap();
        now = due;
    }
    check(&script);
}

#[test]
fn a_failed_path_blocks_nothing_and_is_retried_with_waiting_paths() {
    check(
        "0    mark /d/a
         10   take -> /d/a
         10   settle 1 except /d/a
         20   mark /d/b
         30   take -> /d/b
         30   settle 2 all
         1005 mark /c
         1010 take -> /c /d/a",
    );
}

#[test]
fn a_new_mark_cuts_the_backoff_to_a_second() {
    check(
        "0    mark /a
         10   take -> /a
         10   settle 1 except /a
         1010 take -> /a
         1010 settle 2 except /a
         1020 mark /a
         1020 counts -> 0 0 0 1
         1020 due -> 2010
         2010 take -> /a
         2010 settle 3 except /a
         2010 due -> 6010
         5000 mark /a
         5000 take -> /a",
    );
}

#[test]
fn a_tree_in_a_batch_includes_failed_paths_below_it() {
    check(
        "0    mark /d/a
         10   take -> /d/a
         10   settle 1 except /d/a
         20   mark /d/
         30   take -> /d/
         30   due -> none
         40   settle 2 except /d/a
         40   due -> 2040",
    );
}

#[test]
fn a_failed_part_is_as_old_as_its_batch() {
    check(
        "0    mark /d/
         10   take -> /d/
         11   mark /e
         21   take -> /e
         22   settle 2 all
         23   settle 1 except /d/x /d/y/
         23   counts -> 0 0 0 2
         23   oldest -> 0
         1023 take -> /d/x /d/y/
         1024 settle 3 all
         1024 oldest -> none",
    );
}

#[test]
fn a_failed_tree_is_as_old_as_a_former_failure_in_it() {
    check(
        "0    mark /d/a
         10   take -> /d/a
         10   settle 1 except /d/a
         500  mark /d/
         510  take -> /d/
         510  settle 2 except /d/
         510  oldest -> 0",
    );
}

#[test]
fn an_undecided_batch_waits_again_with_its_age() {
    check(
        "0  mark /a
         1  move /b /c
         10 take -> /a /b /c | /b=>/c
         15 mark /a
         16 mark /e
         16 move /c /d
         20 settle 1 nothing
         20 oldest -> 0
         20 due -> 0
         20 take -> /a /b /c /d /e | /b=>/c /c=>/d",
    );
}

#[test]
fn a_retried_path_of_an_undecided_batch_stays_due() {
    check(
        "0    mark /a
         10   take -> /a
         10   settle 1 except /a
         1010 take -> /a
         1011 settle 2 nothing
         1011 counts -> 1 0 0 0
         1011 due -> 1010
         1011 take -> /a
         1011 settle 3 except /a
         1011 due -> 3011",
    );
}

#[test]
fn a_flush_takes_paths_that_are_not_due() {
    check(
        "0  mark /a
         10 take -> /a
         10 settle 1 except /a
         11 mark /b
         11 flush -> /a /b
         11 due -> none",
    );
}

#[test]
fn too_many_paths_in_a_directory_become_the_directory() {
    check(
        "0  mark /d/a
         0  mark /d/b
         0  mark /d/c
         0  mark /d/d
         0  mark /d/e/
         0  waiting -> /d/a /d/b /d/c /d/d /d/e/
         0  mark /d/f
         0  waiting -> /d/
         0  mark /d/g
         0  waiting -> /d/",
    );
}

#[test]
fn too_many_paths_are_cut_at_the_deepest_level() {
    check(
        "0  mark /a/p/1
         0  mark /a/p/2
         0  mark /a/q/1
         0  mark /a/q/2
         0  mark /b/p/1
         0  mark /b/p/2
         0  mark /b/q/1
         0  mark /b/q/2
         0  counts -> 8 0 0 0
         0  mark /c
         0  waiting -> /a/ /b/ /c",
    );
}

#[test]
fn a_collapsed_directory_does_not_touch_a_batch_in_flight() {
    check(
        "0  mark /d/x
         10 take -> /d/x
         11 mark /d/a
         11 mark /d/b
         11 mark /d/c
         11 mark /e
         11 mark /d/d
         11 mark /d/e
         11 mark /d/f
         11 waiting -> /e
         11 counts -> 1 1 1 0
         21 take -> /e
         22 settle 2 all
         23 settle 1 all
         23 take -> /d/",
    );
}

#[test]
fn too_many_failed_paths_back_off_together() {
    check(
        "0    mark /d/a
         0    mark /d/b
         0    mark /e/a
         0    mark /e/b
         0    mark /f
         0    take -> /d/a /d/b /e/a /e/b /f
         5    settle 1 except /d/a /d/b /e/a /e/b /f
         5    counts -> 0 0 0 1
         1005 take -> /
         1006 settle 2 all
         1006 counts -> 0 0 0 0",
    );
}

#[test]
fn failures_that_merge_during_a_batch_survive_it() {
    check(
        "0    mark /d/a
         0    mark /d/b
         0    mark /d/c
         0    mark /d/d
         10   take -> /d/a /d/b /d/c /d/d
         10   settle 1 except /d/a /d/b /d/c /d/d
         1009 mark /d/
         1010 take -> /d/
         1010 mark /e/a
         1020 take -> /e/a
         1021 settle 3 except /e/a
         1021 counts -> 0 0 1 2
         1022 mark /d/
         1023 settle 2 all
         1023 counts -> 0 0 0 2
         1023 oldest -> 0
         2021 take -> /d/ /e/",
    );
}

#[test]
fn observed_changes_stay_with_their_path_until_it_is_on_the_target() {
    check(
        "0    write /a
         0    remove /b
         0    mark /c
         10   take -> /a /b /c
         10   observed 1 -> written /a, deleted /b
         11   write /c
         11   settle 1 except /a /b
         21   take -> /c
         21   observed 2 -> written /c
         22   settle 2 all
         1011 take -> /a /b
         1011 observed 3 -> written /a, deleted /b
         1012 settle 3 nothing
         1012 take -> /a /b
         1012 observed 4 -> written /a, deleted /b
         1013 settle 4 all
         3014 mark /a
         3014 mark /b
         3024 take -> /a /b
         3024 observed 5 ->",
    );
}

#[test]
fn a_rescan_of_a_tree_has_the_changes_observed_in_it() {
    check(
        "0    write /d/a
         0    remove /d/b
         1    mark /d/
         10   take -> /d/
         10   observed 1 -> written /d/a, deleted /d/b
         11   settle 1 except /d/a /d/b/x
         1011 take -> /d/a /d/b/x
         1011 observed 2 -> written /d/a, deleted /d/b/x",
    );
}

#[test]
fn a_write_is_known_under_the_new_name() {
    check(
        "0  write /d/a
         0  move /d/ /e/
         10 take -> /d/ /e/ | /d=>/e
         10 observed 1 -> written /d/a /e/a, renamed /e/, deleted /d/
         11 move /e/ /f/
         12 settle 1 all
         21 take -> /e/ /f/ | /e=>/f
         21 observed 2 -> written /f/a, renamed /f/, deleted /e/",
    );
}

#[test]
fn a_deletion_is_known_under_the_new_name_of_its_directory() {
    check(
        "0  remove /d/a
         0  move /d/ /e/
         10 take -> /d/ /e/ | /d=>/e
         10 observed 1 -> renamed /e/, deleted /d/ /e/a",
    );
}

#[test]
fn too_many_observed_names_become_their_directory() {
    check(
        "0  remove /d/a
         0  remove /d/b
         0  remove /d/c
         0  remove /d/e
         0  remove /d/f
         0  remove /d/g
         0  remove /d/h
         0  remove /d/i
         0  remove /d/j
         1  write /x
         10 take -> /d/ /x
         10 observed 1 -> written /x, deleted /d/",
    );
}

#[test]
fn settled_changes_are_known_under_the_new_name_of_their_directory() {
    check(
        "0  write /d/a
         0  remove /d/b
         10 take -> /d/a /d/b
         11 settle 1 all
         12 move /d/ /e/
         22 take -> /d/ /e/ | /d=>/e
         22 observed 2 -> written /e/a, renamed /e/, deleted /d/ /e/b",
    );
}

#[test]
fn the_settled_deletion_of_a_name_says_nothing_of_its_successor() {
    // A directory that replaced a deleted one.
    check(
        "0  remove /d/
         10 take -> /d/
         11 settle 1 all
         12 move /d/ /e/
         22 take -> /d/ /e/ | /d=>/e
         22 observed 2 -> renamed /e/, deleted /d/",
    );
    // A file in place of a directory.
    check(
        "0  remove /d/a
         10 take -> /d/a
         11 settle 1 all
         12 move /d /e
         22 take -> /d /e | /d=>/e
         22 observed 2 -> renamed /e, deleted /d",
    );
}

#[test]
fn forgotten_deletions_are_not_observed_at_any_stage() {
    let mut real = RealQueue::new(Debounce::default(), QueueLimits::default());
    play(
        &mut real,
        "0    remove /settled/a
         100  take -> /settled/a
         100  settle 1 all
         200  remove /flies
         300  take -> /flies
         310  remove /waits",
    );
    real.queue.forget_deletions();
    play(
        &mut real,
        "310  settle 2 except /flies
         320  move /settled/ /new/
         420  take -> /new/ /settled/ /waits | /settled=>/new
         420  observed 3 -> renamed /new/, deleted /settled/
         430  settle 3 all
         1310 take -> /flies
         1310 observed 4 ->",
    );
}

#[test]
fn a_failure_that_is_not_merged_keeps_its_backoff() {
    for alone in ["/f", "/f/"] {
        check(&format!(
            "0    mark {alone}
             10   take -> {alone}
             10   settle 1 except {alone}
             20   mark /d/a
             20   mark /d/b
             20   mark /d/c
             20   mark /d/e
             30   take -> /d/a /d/b /d/c /d/e
             40   settle 2 except /d/a /d/b /d/c /d/e
             40   counts -> 0 0 0 2
             1010 take -> {alone}
             1010 settle 3 all
             1039 take ->
             1040 take -> /d/",
        ));
    }
}

#[test]
fn the_memory_of_a_queue_includes_paths_at_every_stage() {
    const NAMES: usize = 100 * 300;
    let mut queue = DirtySet::new(Debounce::default());
    let paths: Vec<_> = (0..100).map(|n| path(&format!("{n:0300}"))).collect();
    let is_about = |queue: &DirtySet, sets: usize| {
        let memory = queue.memory();
        assert!((sets * NAMES..=sets * NAMES * 4 / 3).contains(&memory), "{memory} for {sets}");
    };
    for path in &paths {
        queue.mark(path, Scope::Entry, at(0));
    }
    is_about(&queue, 1);
    let batch = queue.take_due(at(2_000)).unwrap();
    is_about(&queue, 1);
    for path in &paths {
        queue.mark_written(path, Scope::Entry, at(2_000));
    }
    // Deferred and observed.
    is_about(&queue, 3);
    queue.settle(batch, Settled::All, at(2_000));
    is_about(&queue, 2);
}
