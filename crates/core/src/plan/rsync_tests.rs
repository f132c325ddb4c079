//! The words, row by row.

use alloc::{borrow::ToOwned, format, string::String, vec::Vec};

use super::{
    options::{DeletePolicy, ListForm, Phase, RsyncOptions, Rules},
    rsync::{Call, Deletions, RsyncPlan},
    target::Target,
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

#[test]
fn a_full_sync_is_called_as_by_the_original_but_for_ignore_errors() {
    let full = |options| text(&plan(options).full(Phase::Startup, Deletions::Allowed, &[]));
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
        text(&plan.full(Phase::Startup, Deletions::Allowed, &[])),
        "[--filter=- a\nb] [--filter=- c] [--delete] [-lts] [-r] [/src/] [/dst/]"
    );
}

#[test]
fn a_full_sync_while_running_compares_nanoseconds() {
    let plan = plan(RsyncOptions::default());
    assert_eq!(
        text(&plan.full(Phase::Running, Deletions::Allowed, &[])),
        "[--delete] [-lts] [--modify-window=-1] [--force] [-r] [/src/] [/dst/]"
    );
}

#[test]
fn withheld_deletions_are_not_made_by_any_policy() {
    let options = RsyncOptions { delete_excluded: true, ..RsyncOptions::default() };
    let plan = plan(options);
    assert_eq!(
        text(&plan.full(Phase::Startup, Deletions::Withheld, &[])),
        "[-lts] [-r] [/src/] [/dst/]"
    );
    let call = plan.trees(&paths(&["d"]), Deletions::Withheld, &[]);
    assert!(!text(&call).contains("--delete"), "{}", text(&call));
}

#[test]
fn what_is_hidden_comes_before_the_rules_of_the_user() {
    let rules = Rules::Excludes(bytes(&["x"]));
    let plan = plan(RsyncOptions { rules, ..RsyncOptions::default() });
    let hidden = paths(&["a b", "w*\\"]);
    assert_eq!(
        text(&plan.full(Phase::Startup, Deletions::Allowed, &hidden)),
        "[--filter=H /a b] [--filter=P /a b] [--filter=H /w\\*\\\\] [--filter=P /w\\*\\\\] \
         [--exclude-from=-] [--delete] [-lts] [-r] [/src/] [/dst/] < x"
    );
}

#[test]
fn a_list_names_what_is_there_and_what_is_gone() {
    let list = |delete| {
        let plan = plan(RsyncOptions { delete, ..RsyncOptions::default() });
        text(&plan.list(&paths(&["#a", "d/b*"]), &paths(&["gone"])))
    };
    assert_eq!(
        list(DeletePolicy::Always),
        "[-lts] [--modify-window=-1] [--from0] [--files-from=-] [--delete-missing-args] [--force] \
         [/src/] [/dst/] < /./#a|/d/b*|/./gone|"
    );
    let without = "[-lts] [--modify-window=-1] [--from0] [--files-from=-] [--force] \
                   [/src/] [/dst/] < /./#a|/d/b*|";
    assert_eq!(list(DeletePolicy::Never), without);
    assert_eq!(list(DeletePolicy::Startup), without);
}

#[test]
fn trees_go_in_one_call_with_the_rules_as_words() {
    let rules = Rules::Excludes(bytes(&["*.o", "# no pattern", ""]));
    let plan = plan(RsyncOptions { rules, ..RsyncOptions::default() });
    assert_eq!(
        text(&plan.trees(&paths(&["a", "b/c"]), Deletions::Allowed, &paths(&["a/shut"]))),
        "[--filter=H /a/shut] [--filter=P /a/shut] [--exclude=*.o] [-r] [-lts] \
         [--modify-window=-1] [--delete] [--force] [--from0] [--files-from=-] \
         [/src/] [/dst/] < /./a|/b/c|"
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
    let words = |call: Call| -> String {
        let words = call.without_window().args;
        words.iter().map(|word| core::str::from_utf8(word).unwrap()).collect::<Vec<_>>().join(" ")
    };
    assert!(words(plan.list(&path, &[])).starts_with("-lts --ignore-times --from0 --files-from=-"));
    assert!(words(plan.trees(&path, Deletions::Allowed, &[])).starts_with("-r -lts --delete"));
    let full = plan.full(Phase::Startup, Deletions::Allowed, &[]);
    assert_eq!(full.clone().without_window(), full);
}

#[test]
fn deletions_for_a_broken_receiver_list_each_parent_once() {
    let plan = plan(RsyncOptions::default());
    let call = plan.deletions(&paths(&["d/e/x]", "d/e/b\\s", "w*\\"]));
    let head = "[-lts] [--modify-window=-1] [-r] [--delete] [--force] [--from0] \
                [--include-from=-] [--exclude=*] [/src/] [/dst/] < ";
    let patterns = "/d/e/x]|/d/e/b\\s|/w\\*\\\\|/d/e/x]/***|/d/e/b\\\\s/***|/w\\*\\\\/***|\
                    /d/|/d/e/|/";
    assert_eq!(text(&call), head.to_owned() + patterns);
}

#[test]
fn a_batch_by_rules_is_called_as_by_the_original_but_for_ignore_errors() {
    let options = RsyncOptions { form: ListForm::Filter, ..RsyncOptions::default() };
    let options = RsyncOptions { rules: Rules::Excludes(bytes(&["*.tmp"])), ..options };
    let plan = plan(options);
    let tail = "[-lts] [--modify-window=-1] [-r] [--delete] [--force] [--from0] \
                [--include-from=-] [--exclude=*] [/src/] [/dst/] < ";
    assert_eq!(
        text(&plan.list(&paths(&["a/x]", "a/w*", "b"]), &paths(&["a/gone"]))),
        tail.to_owned() + "/a/x]|/a/w\\*|/b|/a/gone|/a/gone/***|/a/|/"
    );
    // What is excluded in a tree is not named by anybody.
    assert_eq!(
        text(&plan.trees(&paths(&["a/d"]), Deletions::Allowed, &paths(&["a/d/no"]))),
        "[--filter=H /a/d/no] [--filter=P /a/d/no] [--exclude=*.tmp] ".to_owned()
            + tail
            + "/a/d|/a/d/***|/a/|/"
    );
    let options = RsyncOptions { delete: DeletePolicy::Never, ..plan.options };
    let plan = self::plan(options);
    assert!(!text(&plan.list(&paths(&["a"]), &paths(&["b"]))).contains("--delete"));
}
