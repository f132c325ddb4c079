//! The words, row by row.

use alloc::{borrow::ToOwned, format, string::String, vec::Vec};

use super::{
    super::{
        options::{DeletePolicy, ListForm, Phase, RsyncOptions, Rules},
        target::Target,
    },
    Call, Deletions, Equal, Parts, RsyncPlan, Unwanted,
};
use crate::path::TreePath;

fn plan(options: RsyncOptions) -> RsyncPlan {
    RsyncPlan::new(options, b"/src", Target::new(b"/dst").unwrap())
}

fn paths(texts: &[&str]) -> Vec<TreePath> {
    texts.iter().map(|text| TreePath::new(text.as_bytes()).unwrap()).collect()
}

fn bytes(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// `[word] [word] < stdin`, with a NUL as `|`.
fn text(call: &Call) -> String {
    let word = |word: &Vec<u8>| format!("[{}]", String::from_utf8(word.clone()).unwrap());
    let mut text = call.args.iter().map(word).collect::<Vec<_>>().join(" ");
    if let Some(stdin) = &call.stdin {
        text += " < ";
        text += &String::from_utf8(stdin.clone()).unwrap().replace('\0', "|");
    }
    text
}

fn full(plan: &RsyncPlan, phase: Phase, deletions: Deletions) -> String {
    text(&plan.full(phase, deletions, Equal::Seconds, &[]))
}

fn list(plan: &RsyncPlan, entries: &[&str], gone: &[&str], deletions: Deletions) -> String {
    let (entries, gone) = (paths(entries), paths(gone));
    let parts = Parts { entries: &entries, gone: &gone, ..Parts::default() };
    text(&plan.parts(&parts, deletions, Equal::Never))
}

#[test]
fn a_full_sync_is_called_as_by_the_original_but_for_ignore_errors() {
    let full = |options| full(&plan(options), Phase::Startup, Deletions::Allowed);
    let default = RsyncOptions::default();
    assert_eq!(full(default.clone()), "[--delete] [-lts] [-r] [/src/] [/dst/]");
    let rules = Rules::Excludes(bytes(&["*.tmp", "/x"]));
    assert_eq!(
        full(RsyncOptions { rules, ..default.clone() }),
        "[--exclude-from=-] [--delete] [-lts] [-r] [/src/] [/dst/] < *.tmp\n/x"
    );
    let rules = Rules::Filters(bytes(&["+ a", "- b"]));
    assert_eq!(
        full(RsyncOptions { rules, delete_excluded: true, ..default.clone() }),
        "[--filter=. -] [--delete] [--delete-excluded] [-lts] [-r] [/src/] [/dst/] < + a\n- b"
    );
    let delete = DeletePolicy::Running;
    assert_eq!(full(RsyncOptions { delete, ..default.clone() }), "[-lts] [-r] [/src/] [/dst/]");
    let short = Vec::new();
    let extra = bytes(&["--stats"]);
    let long = bytes(&["--bwlimit=1"]);
    assert_eq!(
        full(RsyncOptions { short, extra, long, ..default }),
        "[--delete] [--stats] [--bwlimit=1] [-r] [/src/] [/dst/]"
    );
}

#[test]
fn a_rule_with_a_line_feed_is_a_word_of_its_own() {
    let rules = Rules::Filters(bytes(&["- a\nb", "- c"]));
    let plan = plan(RsyncOptions { rules, ..RsyncOptions::default() });
    assert_eq!(
        full(&plan, Phase::Startup, Deletions::Allowed),
        "[--filter=- a\nb] [--filter=- c] [--delete] [-lts] [-r] [/src/] [/dst/]"
    );
}

#[test]
fn what_is_equal_is_a_word_unless_the_user_says_it() {
    let words =
        |plan: &RsyncPlan, equal| text(&plan.full(Phase::Running, Deletions::Withheld, equal, &[]));
    let default = plan(RsyncOptions::default());
    let extra = bytes(&["--modify-window=2"]);
    let by_user = plan(RsyncOptions { extra, ..RsyncOptions::default() });
    for (equal, word, beside) in [
        (Equal::Nanoseconds, "[--modify-window=-1] ", ""),
        (Equal::Seconds, "", ""),
        (Equal::Within(1), "[--modify-window=1] ", ""),
        (Equal::Never, "[--modify-window=-1] [--ignore-times] ", "[--ignore-times] "),
    ] {
        let expected = format!("[-lts] {word}[-r] [/src/] [/dst/]");
        assert_eq!(words(&default, equal), expected);
        let expected = format!("[-lts] [--modify-window=2] {beside}[-r] [/src/] [/dst/]");
        assert_eq!(words(&by_user, equal), expected);
    }
}

#[test]
fn a_call_that_counts_deletes_nothing_and_tells_how_much_there_is() {
    let extra = bytes(&["--max-delete=7"]);
    let plan = plan(RsyncOptions { extra, ..RsyncOptions::default() });
    let full = |deletions| full(&plan, Phase::Startup, deletions);
    // Of two bounds the last one counts.
    let head = "[--delete] [-lts] [--max-delete=7] ";
    let tail = "[-r] [/src/] [/dst/]";
    for (deletions, words) in [
        (Deletions::AtMost(0), "[--max-delete=0] [--stats] "),
        (Deletions::AtMost(12), "[--max-delete=12] "),
        (Deletions::AtMost(u64::MAX), "[--max-delete=2000000000] "),
        (Deletions::Only(3), "[--max-delete=3] [--existing] [--ignore-existing] "),
        (Deletions::Told, "[-n] [--info=none,del,stats2] [--out-format=%o %n] "),
        (Deletions::Allowed, ""),
    ] {
        assert_eq!(full(deletions), format!("{head}{words}{tail}"));
    }
    let call = plan.full(Phase::Startup, Deletions::AtMost(0), Equal::Seconds, &[]);
    assert!(call.counts() && call.deletes());
    assert_eq!(plan.options.max_delete(), Some(7));
}

#[test]
fn withheld_deletions_are_not_made_by_any_policy() {
    let options = RsyncOptions { delete_excluded: true, ..RsyncOptions::default() };
    let plan = plan(options);
    assert_eq!(full(&plan, Phase::Startup, Deletions::Withheld), "[-lts] [-r] [/src/] [/dst/]");
    let trees = paths(&["d"]);
    let parts = Parts { trees: &trees, gone: &trees, ..Parts::default() };
    let call = plan.parts(&parts, Deletions::Withheld, Equal::Never);
    assert!(!text(&call).contains("--delete") && !call.deletes(), "{}", text(&call));
}

#[test]
fn what_is_hidden_comes_before_the_rules_of_the_user() {
    let rules = Rules::Excludes(bytes(&["x"]));
    let plan = plan(RsyncOptions { rules, ..RsyncOptions::default() });
    let hidden = paths(&["a b", "w*\\"]);
    assert_eq!(
        text(&plan.full(Phase::Startup, Deletions::Allowed, Equal::Seconds, &hidden)),
        "[--filter=H /a b] [--filter=P /a b] [--filter=H /w\\*\\\\] [--filter=P /w\\*\\\\] \
         [--exclude-from=-] [--delete] [-lts] [-r] [/src/] [/dst/] < x"
    );
}

#[test]
fn a_list_names_what_is_there_and_what_is_gone() {
    let list = |delete| {
        let rules = Rules::Excludes(bytes(&["x"]));
        let plan = plan(RsyncOptions { delete, rules, ..RsyncOptions::default() });
        list(&plan, &["#a", "d/b*"], &["gone"], Deletions::Allowed)
    };
    // The rules keep what is excluded in a directory that is gone.
    assert_eq!(
        list(DeletePolicy::Always),
        "[--exclude=x] [-lts] [--modify-window=-1] [--ignore-times] [--delete] [--from0] [--files-from=-] \
         [--delete-missing-args] [/src/] [/dst/] < /./#a|/d/b*|/./gone|"
    );
    let without = "[-lts] [--modify-window=-1] [--ignore-times] [--from0] [--files-from=-] [--ignore-missing-args] \
                   [/src/] [/dst/] < /./#a|/d/b*|";
    assert_eq!(list(DeletePolicy::Never), without);
    assert_eq!(list(DeletePolicy::Startup), without);
}

#[test]
fn nothing_is_ever_forced() {
    for form in [ListForm::FilesFrom, ListForm::Filter] {
        for delete in [DeletePolicy::Never, DeletePolicy::Always] {
            let plan = plan(RsyncOptions { delete, form, ..RsyncOptions::default() });
            let text = list(&plan, &["a"], &["b"], Deletions::Allowed);
            assert!(!text.contains("--force"), "{text}");
            assert_eq!(text.contains("--delete"), delete == DeletePolicy::Always, "{text}");
        }
    }
}

#[test]
fn trees_go_in_one_call_with_the_rules_as_words() {
    let rules = Rules::Excludes(bytes(&["*.o", "# no pattern", ""]));
    let plan = plan(RsyncOptions { rules, ..RsyncOptions::default() });
    let (entries, trees) = (paths(&["f"]), paths(&["a", "b/c"]));
    let (gone, hidden) = (paths(&["gone"]), paths(&["a/shut"]));
    let parts = Parts { entries: &entries, trees: &trees, gone: &gone, hidden: &hidden };
    assert_eq!(
        text(&plan.parts(&parts, Deletions::Allowed, Equal::Never)),
        "[--filter=H /a/shut] [--filter=P /a/shut] [--exclude=*.o] [-r] [-lts] \
         [--modify-window=-1] [--ignore-times] [--delete] [--from0] [--files-from=-] [--delete-missing-args] \
         [/src/] [/dst/] < /./f|/./a|/b/c|/./gone|"
    );
}

#[test]
fn the_root_alone() {
    let plan = plan(RsyncOptions::default());
    assert_eq!(
        text(&plan.root()),
        "[-lts] [--modify-window=-1] [-d] [--exclude=/*] [/src/] [/dst/]"
    );
}

#[test]
fn a_call_can_do_without_the_comparison_of_nanoseconds() {
    let plan = RsyncPlan::new(RsyncOptions::default(), b"/s", Target::new(b"/t").unwrap());
    let path = [TreePath::new(b"a").unwrap()];
    let words = |parts: &Parts<'_>, equal| {
        text(&plan.parts(parts, Deletions::Allowed, equal).without_window())
    };
    let entries = Parts { entries: &path, ..Parts::default() };
    let trees = Parts { trees: &path, ..Parts::default() };
    assert!(words(&entries, Equal::Nanoseconds).starts_with("[-lts] [--ignore-times] [--delete]"));
    assert!(words(&trees, Equal::Nanoseconds).starts_with("[-r] [-lts] [--delete]"));
    assert!(words(&trees, Equal::Never).starts_with("[-r] [-lts] [--ignore-times]"));
    let full = plan.full(Phase::Startup, Deletions::Allowed, Equal::Seconds, &[]);
    assert_eq!(full.clone().without_window(), full);
}

#[test]
fn a_removal_spares_all_beside_its_names() {
    let rules = Rules::Filters(bytes(&["+ */", "- *"]));
    let plan = plan(RsyncOptions { rules, ..RsyncOptions::default() });
    let [any, directory, other] = ["d/e/x]", "d/w*", "o"].map(|name| paths(&[name]).remove(0));
    let names =
        [(any, Unwanted::Anything), (directory, Unwanted::Directory), (other, Unwanted::Other)];
    assert_eq!(
        text(&plan.removal(&names, Deletions::AtMost(3))),
        "[--from0] [--filter=. -] [--filter=+ */] [--filter=- *] [-lts] [-r] [--delete] \
         [--max-delete=3] [/src/] [/dst/] < \
         S /d/|P /d/|S /d/e/|P /d/e/|\
         H /d/e/x]|R /d/e/x]|\
         H /d/w\\*|R /d/w\\*/|P /d/w\\*|\
         H /o|P /o/|R /o|\
         H /d/*|P /d/*|H /d/e/*|P /d/e/*|H /*|P /*"
    );
}

#[test]
fn a_batch_by_rules_is_called_as_by_the_original_but_for_ignore_errors() {
    let options = RsyncOptions { form: ListForm::Filter, ..RsyncOptions::default() };
    let plan = plan(options.clone());
    let tail = "[-lts] [--modify-window=-1] [--ignore-times] [-r] [--delete] [--from0] [--include-from=-] \
                [--exclude=*] [/src/] [/dst/] < ";
    assert_eq!(
        list(&plan, &["a/x]", "a/w*", "b"], &["a/gone", "w*\\"], Deletions::Allowed),
        tail.to_owned() + "/a/x]|/a/w\\*|/b|/a/gone|/w\\*\\\\|/a/gone/***|/w\\*\\\\/***|/a/|/"
    );
    let options = RsyncOptions { delete: DeletePolicy::Never, ..options };
    let plan = self::plan(options);
    assert!(!list(&plan, &["a"], &["b"], Deletions::Allowed).contains("--delete"));
}

#[test]
fn in_a_batch_by_rules_those_of_the_user_decide_inside_of_directories_only() {
    let options = RsyncOptions { form: ListForm::Filter, ..RsyncOptions::default() };
    let options = RsyncOptions { rules: Rules::Excludes(bytes(&["*.tmp"])), ..options };
    let plan = plan(options);
    let (entries, trees, hidden) = (paths(&["a/e"]), paths(&["a/d"]), paths(&["a/d/no"]));
    let parts = Parts { entries: &entries, trees: &trees, hidden: &hidden, ..Parts::default() };
    assert_eq!(
        text(&plan.parts(&parts, Deletions::Allowed, Equal::Never)),
        "[--filter=H /a/d/no] [--filter=P /a/d/no] [-lts] [--modify-window=-1] [--ignore-times] [-r] [--delete] \
         [--from0] [--include-from=-] [--exclude=*.tmp] [/src/] [/dst/] < \
         /a/e|/a/d|/a/|/|- /a/e/*|- /a/*|- /*"
    );
    // What is excluded itself is named by nobody, and nothing else is left to the rules.
    assert!(list(&plan, &["a"], &[], Deletions::Allowed).contains("[--exclude=*]"));
}

#[test]
fn what_the_user_wants_to_see_is_known() {
    let options = |extra: &[&str]| RsyncOptions { extra: bytes(extra), ..RsyncOptions::default() };
    for (extra, tells, numbers) in [
        (&[][..], false, false),
        (&["--bwlimit=3", "-z"], false, false),
        (&["-vz"], true, false),
        (&["--stats"], true, true),
        (&["--info=progress2,stats1"], true, true),
        (&["--out-format=%n"], true, false),
    ] {
        let options = options(extra);
        assert_eq!((options.tells(), options.tells_numbers()), (tells, numbers), "{extra:?}");
    }
    assert_eq!(options(&["--max-delete", "5"]).max_delete(), Some(5));
    assert_eq!(options(&["--max-delete=x"]).max_delete(), None);
    assert!(options(&["-aHx"]).keeps_links() && !options(&["-ax", "--rsh=H"]).keeps_links());
}

#[test]
fn of_what_switches_an_option_on_or_off_the_last_counts() {
    for (short, extra, stays) in [
        ("x", &[][..], true),
        ("x", &["--no-x"][..], false),
        ("", &["-ax"], true),
        ("", &["-ax", "--no-one-file-system"], false),
        ("", &["--no-x", "--one-file-system"], true),
        ("", &["-e", "ssh -x", "-essh -x", "-f- x", "--exclude", "-x"], false),
    ] {
        let default = RsyncOptions::default();
        let options = RsyncOptions { short: short.into(), extra: bytes(extra), ..default };
        assert_eq!(options.stays_on_device(), stays, "{short} {extra:?}");
    }
}

#[test]
fn only_of_another_machine_it_has_to_be_asked_what_times_it_keeps() {
    let has_to = |target: &[u8], change: fn(&mut RsyncOptions)| {
        let mut options = RsyncOptions::default();
        change(&mut options);
        let target = Target::new(target).unwrap();
        RsyncPlan::new(options, b"/src", target).has_to_look_at_times()
    };
    assert!(has_to(b"host:dst", |_| ()) && has_to(b"rsync://host/m/", |_| ()));
    assert!(!has_to(b"/dst", |_| ()));
    assert!(!has_to(b"host:dst", |it| it.short.retain(|letter| *letter != b't')));
    assert!(!has_to(b"host:dst", |it| it.extra.push(b"--modify-window=1".to_vec())));
    assert!(!has_to(b"host:dst", |it| it.form = ListForm::Filter));
}
