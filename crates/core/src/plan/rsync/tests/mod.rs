//! Command lines, row by row.

use alloc::{borrow::ToOwned, format, string::String, vec::Vec};

use super::{
    super::{
        options::{DeletePolicy, ExcludeRules, ListForm, RsyncOptions, TransferPhase},
        target::Target,
    },
    Deletions, QuickCheck, RsyncCall, RsyncPlan, TransferPaths, UnwantedKind,
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

/// Formats a call as `[arg] [arg] < stdin`, with a NUL as `|`.
fn text(call: &RsyncCall) -> String {
    let word = |word: &Vec<u8>| format!("[{}]", String::from_utf8(word.clone()).unwrap());
    let call = call.command_line();
    let mut text = call.args.iter().map(word).collect::<Vec<_>>().join(" ");
    if let Some(stdin) = &call.stdin {
        text += " < ";
        text += &String::from_utf8(stdin.clone()).unwrap().replace('\0', "|");
    }
    text
}

fn full(plan: &RsyncPlan, phase: TransferPhase, deletions: Deletions) -> String {
    text(&plan.full(phase, deletions, QuickCheck::Seconds, &[]))
}

fn list(plan: &RsyncPlan, entries: &[&str], gone: &[&str], deletions: Deletions) -> String {
    let (entries, gone) = (paths(entries), paths(gone));
    let parts = TransferPaths { entries: &entries, missing: &gone, ..TransferPaths::default() };
    text(&plan.partial(&parts, deletions, QuickCheck::Never))
}

#[test]
fn an_attribute_is_kept_only_with_the_default_selection() {
    let kept = |short: &[u8], extra: &[&str], rules: ExcludeRules| {
        let extra = extra.iter().map(|arg| arg.as_bytes().to_vec()).collect();
        let options =
            RsyncOptions { short: short.to_vec(), extra, rules, ..RsyncOptions::default() };
        let args = options.args_keeping_xattr("user.mark", true);
        !args.is_empty()
    };
    let filters = |rules: &[&str]| {
        ExcludeRules::Filters(rules.iter().map(|rule| rule.as_bytes().to_vec()).collect())
    };
    assert!(kept(b"ltX", &[], ExcludeRules::None) && kept(b"lt", &["-aX"], ExcludeRules::None));
    assert!(!kept(b"lt", &[], ExcludeRules::None));
    assert!(!kept(b"ltX", &["--no-xattrs"], ExcludeRules::None));
    assert!(kept(b"X", &[], ExcludeRules::Excludes(Vec::from([b"-x".to_vec()]))));
    assert!(kept(b"X", &[], filters(&["- *.tmp", "+/_x", "P x"])));
    for rule in ["-x user.a", "+,x a", ". file", ": .rules", "exclude,x a", "merge a", ""] {
        assert!(!kept(b"X", &[], filters(&["- a", rule])), "{rule}");
    }
    for arg in ["--filter=- a", "-F", "--fake-super", "--super", "-M--fake-super"] {
        assert!(!kept(b"X", &[arg], ExcludeRules::None), "{arg}");
    }
    let options = RsyncOptions { short: b"X".to_vec(), ..RsyncOptions::default() };
    let args = |is_root| options.args_keeping_xattr("user.mark", is_root);
    assert_eq!(args(true), [b"--filter=-x user.mark".to_vec(), b"--filter=-x system.*".to_vec()]);
    assert_eq!(args(false), [b"--filter=-x user.mark".to_vec(), b"--filter=-x! user.*".to_vec()]);
    let as_original = RsyncOptions { form: ListForm::Filter, ..options };
    assert!(as_original.args_keeping_xattr("user.mark", true).is_empty());
}

#[test]
fn a_full_transfer_matches_the_original_except_ignore_errors() {
    let full = |options| full(&plan(options), TransferPhase::Startup, Deletions::Allowed);
    let default = RsyncOptions::default();
    assert_eq!(full(default.clone()), "[--delete] [-lts] [--stats] [-r] [/src/] [/dst/]");
    let rules = ExcludeRules::Excludes(bytes(&["*.tmp", "/x"]));
    assert_eq!(
        full(RsyncOptions { rules, ..default.clone() }),
        "[--exclude-from=-] [--delete] [-lts] [--stats] [-r] [/src/] [/dst/] < *.tmp\n/x"
    );
    let rules = ExcludeRules::Filters(bytes(&["+ a", "- b"]));
    assert_eq!(
        full(RsyncOptions { rules, delete_excluded: true, ..default.clone() }),
        "[--filter=. -] [--delete] [--delete-excluded] [-lts] [--stats] [-r] [/src/] [/dst/] < + a\n- b"
    );
    let delete = DeletePolicy::Running;
    assert_eq!(
        full(RsyncOptions { delete, ..default.clone() }),
        "[-lts] [--stats] [-r] [/src/] [/dst/]"
    );
    let short = Vec::new();
    let extra = bytes(&["--stats"]);
    let long = bytes(&["--bwlimit=1"]);
    assert_eq!(
        full(RsyncOptions { short, extra, long, ..default }),
        "[--delete] [--stats] [--bwlimit=1] [-r] [/src/] [/dst/]"
    );
}

#[test]
fn a_rule_with_a_line_feed_is_a_separate_argument() {
    let rules = ExcludeRules::Filters(bytes(&["- a\nb", "- c"]));
    let plan = plan(RsyncOptions { rules, ..RsyncOptions::default() });
    assert_eq!(
        full(&plan, TransferPhase::Startup, Deletions::Allowed),
        "[--filter=- a\nb] [--filter=- c] [--delete] [-lts] [--stats] [-r] [/src/] [/dst/]"
    );
}

#[test]
fn the_quick_check_is_an_argument_unless_the_user_sets_it() {
    let words = |plan: &RsyncPlan, equal| {
        text(&plan.full(TransferPhase::Running, Deletions::Withheld, equal, &[]))
    };
    let default = plan(RsyncOptions::default());
    let extra = bytes(&["--modify-window=2"]);
    let by_user = plan(RsyncOptions { extra, ..RsyncOptions::default() });
    for (equal, word, beside) in [
        (QuickCheck::Nanoseconds, "[--modify-window=-1] ", ""),
        (QuickCheck::Seconds, "", ""),
        (QuickCheck::Within(1), "[--modify-window=1] ", ""),
        (QuickCheck::Never, "[--modify-window=-1] [--ignore-times] ", "[--ignore-times] "),
    ] {
        let expected = format!("[-lts] {word}[--stats] [-r] [/src/] [/dst/]");
        assert_eq!(words(&default, equal), expected);
        let expected = format!("[-lts] [--modify-window=2] {beside}[--stats] [-r] [/src/] [/dst/]");
        assert_eq!(words(&by_user, equal), expected);
    }
}

#[test]
fn deletion_limits_become_arguments() {
    let extra = bytes(&["--max-delete=7"]);
    let plan = plan(RsyncOptions { extra, ..RsyncOptions::default() });
    let full = |deletions| full(&plan, TransferPhase::Startup, deletions);
    // Of two limits the last one applies.
    let head = "[--delete] [-lts] [--max-delete=7] ";
    let tail = "[-r] [/src/] [/dst/]";
    for (deletions, words) in [
        (Deletions::AtMost(0), "[--max-delete=0] [--stats] "),
        (Deletions::AtMost(12), "[--max-delete=12] [--stats] "),
        (Deletions::AtMost(u64::MAX), "[--max-delete=2000000000] [--stats] "),
        (
            Deletions::WithoutTransfer(3),
            "[--max-delete=3] [--existing] [--ignore-existing] [--stats] ",
        ),
        (
            Deletions::DryRun,
            "[-n] [--info=none,del,stats2] [--out-format=%o %n] [--max-delete=2000000000] ",
        ),
        (Deletions::Allowed, "[--stats] "),
    ] {
        assert_eq!(full(deletions), format!("{head}{words}{tail}"));
    }
    let call = plan.full(TransferPhase::Startup, Deletions::AtMost(0), QuickCheck::Seconds, &[]);
    assert!(call.counts_deletions() && call.deletes());
    assert_eq!(plan.options.max_delete(), Some(7));
}

#[test]
fn withheld_deletions_override_every_policy() {
    let options = RsyncOptions { delete_excluded: true, ..RsyncOptions::default() };
    let plan = plan(options);
    assert_eq!(
        full(&plan, TransferPhase::Startup, Deletions::Withheld),
        "[-lts] [--stats] [-r] [/src/] [/dst/]"
    );
    let trees = paths(&["d"]);
    let parts = TransferPaths { trees: &trees, missing: &trees, ..TransferPaths::default() };
    let call = plan.partial(&parts, Deletions::Withheld, QuickCheck::Never);
    assert!(!text(&call).contains("--delete") && !call.deletes(), "{}", text(&call));
}

/// Calls for a part of the tree exclude the rest, which `--delete-excluded` would delete.
#[test]
fn only_full_transfers_have_the_delete_excluded_of_the_user() {
    let plan_with = |form| {
        plan(RsyncOptions { extra: bytes(&["--delete-excluded"]), form, ..RsyncOptions::default() })
    };
    let has_it = |call: &str| call.contains("--delete-excluded");
    for form in [ListForm::FilesFrom, ListForm::Filter] {
        let plan = plan_with(form);
        let phase = TransferPhase::Startup;
        assert!(has_it(&full(&plan, phase, Deletions::Allowed)));
        assert!(!has_it(&full(&plan, phase, Deletions::Withheld)));
        assert!(!has_it(&list(&plan, &["a"], &["b"], Deletions::Allowed)));
        assert!(!has_it(&text(&plan.root_attributes())));
        let removal =
            plan.removal(&[(paths(&["a"])[0].clone(), UnwantedKind::Any)], Deletions::Allowed);
        assert!(!has_it(&text(&removal)));
    }
}

#[test]
fn hidden_paths_precede_the_rules_of_the_user() {
    let rules = ExcludeRules::Excludes(bytes(&["x"]));
    let plan = plan(RsyncOptions { rules, ..RsyncOptions::default() });
    let hidden = paths(&["a b", "w*\\"]);
    assert_eq!(
        text(&plan.full(TransferPhase::Startup, Deletions::Allowed, QuickCheck::Seconds, &hidden)),
        "[--filter=H /a b] [--filter=P /a b] [--filter=H /w\\*\\\\] [--filter=P /w\\*\\\\] \
         [--exclude-from=-] [--delete] [-lts] [--stats] [-r] [/src/] [/dst/] < x"
    );
}

#[test]
fn a_list_contains_existing_and_missing_paths() {
    let list = |delete| {
        let rules = ExcludeRules::Excludes(bytes(&["x"]));
        let plan = plan(RsyncOptions { delete, rules, ..RsyncOptions::default() });
        list(&plan, &["#a", "d/b*"], &["gone"], Deletions::Allowed)
    };
    // The rules keep excluded entries in a missing directory.
    assert_eq!(
        list(DeletePolicy::Always),
        "[--exclude=x] [-lts] [--modify-window=-1] [--ignore-times] [--delete] [--stats] [--from0] [--files-from=-] \
         [--delete-missing-args] [/src/] [/dst/] < /./#a|/d/b*|/./gone|"
    );
    let without = "[-lts] [--modify-window=-1] [--ignore-times] [--stats] [--from0] [--files-from=-] [--ignore-missing-args] \
                   [/src/] [/dst/] < /./#a|/d/b*|";
    assert_eq!(list(DeletePolicy::Never), without);
    assert_eq!(list(DeletePolicy::Startup), without);
}

#[test]
fn force_is_never_passed() {
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
fn trees_are_transferred_in_one_call_with_rules_as_arguments() {
    let rules = ExcludeRules::Excludes(bytes(&["*.o", "# no pattern", ""]));
    let plan = plan(RsyncOptions { rules, ..RsyncOptions::default() });
    let (entries, trees) = (paths(&["f"]), paths(&["a", "b/c"]));
    let (gone, hidden) = (paths(&["gone"]), paths(&["a/shut"]));
    let parts = TransferPaths { entries: &entries, trees: &trees, missing: &gone, hidden: &hidden };
    assert_eq!(
        text(&plan.partial(&parts, Deletions::Allowed, QuickCheck::Never)),
        "[--filter=H /a/shut] [--filter=P /a/shut] [--exclude=*.o] [-r] [-lts] \
         [--modify-window=-1] [--ignore-times] [--delete] [--stats] [--from0] [--files-from=-] [--delete-missing-args] \
         [/src/] [/dst/] < /./f|/./a|/b/c|/./gone|"
    );
}

#[test]
fn root_attributes_exclude_all_entries() {
    let plan = plan(RsyncOptions::default());
    assert_eq!(
        text(&plan.root_attributes()),
        "[-lts] [--modify-window=-1] [-d] [--exclude=/*] [/src/] [/dst/]"
    );
    let module = Target::new(b"host::module/dst").unwrap();
    let plan = RsyncPlan::new(RsyncOptions::default(), b"/src", module);
    let expected =
        "[-d] [--exclude=/*] [--from0] [--files-from=-] [/src/] [host::module/dst/] < .|";
    let call = text(&plan.root_attributes());
    assert!(call.ends_with(expected), "{call}");
}

#[test]
fn without_window_removes_the_comparison_of_nanoseconds() {
    let plan = RsyncPlan::new(RsyncOptions::default(), b"/s", Target::new(b"/t").unwrap());
    let path = [TreePath::new(b"a").unwrap()];
    let words = |parts: &TransferPaths<'_>, equal| {
        text(&plan.partial(parts, Deletions::Allowed, equal).without_window())
    };
    let entries = TransferPaths { entries: &path, ..TransferPaths::default() };
    let trees = TransferPaths { trees: &path, ..TransferPaths::default() };
    assert!(
        words(&entries, QuickCheck::Nanoseconds).starts_with("[-lts] [--ignore-times] [--delete]")
    );
    assert!(words(&trees, QuickCheck::Nanoseconds).starts_with("[-r] [-lts] [--delete]"));
    assert!(words(&trees, QuickCheck::Never).starts_with("[-r] [-lts] [--ignore-times]"));
    let full = plan.full(TransferPhase::Startup, Deletions::Allowed, QuickCheck::Seconds, &[]);
    assert_eq!(full.clone().without_window(), full);
}

#[test]
fn a_backup_directory_in_the_target_is_protected() {
    for (directory, target, rule) in [
        ("old", &b"/dst/"[..], " [--filter=P /old]"),
        ("./a/old/", b"host:dst/", " [--filter=P /a/old]"),
        ("/dst/o*d", b"/dst/", " [--filter=P /o\\*d]"),
        ("/dst/old", b"host:/dst/", " [--filter=P /old]"),
        ("/elsewhere", b"/dst/", ""),
        ("../old", b"/dst/", ""),
        ("/dst/old", b"host:dst/", ""),
    ] {
        let extra = bytes(&[&*format!("--backup-dir={directory}")]);
        let options = RsyncOptions { extra, ..RsyncOptions::default() };
        let plan = RsyncPlan::new(options, b"/src", Target::new(target).unwrap());
        let call =
            text(&plan.partial(&TransferPaths::default(), Deletions::Allowed, QuickCheck::Never));
        assert!(call.contains(&format!("[--backup-dir={directory}]{rule} [")), "{call}");
    }
}

#[test]
fn temporary_files_are_listed_in_their_directories_only() {
    let options = RsyncOptions { delete: DeletePolicy::Never, ..RsyncOptions::default() };
    let plan = plan(options);
    let directories = [TreePath::root(), paths(&["d/w*"]).remove(0)];
    assert_eq!(
        text(&plan.temp_file_listing(&directories)),
        "[--from0] [--filter=. -] [-lts] [--modify-window=-1] [-r] [--delete] [-n] \
         [--info=none,del,stats2] [--out-format=%o %n] [/src/] [/dst/] < S /d/|P /d/|S /d/w\\*/|P /d/w\\*/|\
         H /.*.??????|P /.*.??????/|R /.*.??????|\
         H /d/w\\*/.*.??????|P /d/w\\*/.*.??????/|R /d/w\\*/.*.??????|\
         H /d/*|P /d/*|H /d/w\\*/*|P /d/w\\*/*|H /*|P /*"
    );
    let removal = text(&plan.temp_file_removal(&paths(&[".f.abcDEF"])));
    assert!(removal.contains("[--delete]") && !removal.contains("[-n]"), "{removal}");
    for (extra, may_remove) in
        [(&[][..], true), (&["--temp-dir=/t"], false), (&["-T/t"], false), (&["-b"], false)]
    {
        let options = RsyncOptions { extra: bytes(extra), ..RsyncOptions::default() };
        assert_eq!(options.may_remove_temp_files(), may_remove, "{extra:?}");
    }
}

#[test]
fn a_removal_deletes_its_names_only() {
    let rules = ExcludeRules::Filters(bytes(&["+ */", "- *"]));
    let plan = plan(RsyncOptions { rules, ..RsyncOptions::default() });
    let [any, directory, other] = ["d/e/x]", "d/w*", "o"].map(|name| paths(&[name]).remove(0));
    let names = [
        (any, UnwantedKind::Any),
        (directory, UnwantedKind::Directory),
        (other, UnwantedKind::NonDirectory),
    ];
    assert_eq!(
        text(&plan.removal(&names, Deletions::AtMost(3))),
        "[--from0] [--filter=. -] [--filter=+ */] [--filter=- *] [-lts] [--modify-window=-1] [-r] \
         [--delete] [--max-delete=3] [--stats] [/src/] [/dst/] < \
         S /d/|P /d/|S /d/e/|P /d/e/|\
         H /d/e/x]|R /d/e/x]|\
         H /d/w\\*|R /d/w\\*/|P /d/w\\*|\
         H /o|P /o/|R /o|\
         H /d/*|P /d/*|H /d/e/*|P /d/e/*|H /*|P /*"
    );
}

#[test]
fn a_batch_by_rules_matches_the_original_except_ignore_errors() {
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
fn in_a_batch_by_rules_user_rules_apply_inside_directories_only() {
    let options = RsyncOptions { form: ListForm::Filter, ..RsyncOptions::default() };
    let options = RsyncOptions { rules: ExcludeRules::Excludes(bytes(&["*.tmp"])), ..options };
    let plan = plan(options);
    let (entries, trees, hidden) = (paths(&["a/e"]), paths(&["a/d"]), paths(&["a/d/no"]));
    let parts = TransferPaths {
        entries: &entries,
        trees: &trees,
        hidden: &hidden,
        ..TransferPaths::default()
    };
    assert_eq!(
        text(&plan.partial(&parts, Deletions::Allowed, QuickCheck::Never)),
        "[--filter=H /a/d/no] [--filter=P /a/d/no] [-lts] [--modify-window=-1] [--ignore-times] [-r] [--delete] \
         [--from0] [--include-from=-] [--exclude=*.tmp] [/src/] [/dst/] < \
         /a/e|/a/d|/a/|/|- /a/e/*|- /a/*|- /*"
    );
    // Backups are kept by a rule that comes last.
    let keeping =
        RsyncOptions { short: b"b".to_vec(), form: ListForm::Filter, ..RsyncOptions::default() };
    assert_eq!(
        text(&self::plan(keeping).partial(&parts, Deletions::Allowed, QuickCheck::Never)),
        "[--filter=H /a/d/no] [--filter=P /a/d/no] [-b] [--modify-window=-1] [--ignore-times] [-r] [--delete] \
         [--from0] [--include-from=-] [/src/] [/dst/] < /a/e|/a/d|/a/|/|- /a/e/*|- /a/*|- /*"
    );
    // Excluded entries themselves are never listed, so nothing else is left to the rules.
    assert!(list(&plan, &["a"], &[], Deletions::Allowed).contains("[--exclude=*]"));
}

#[test]
fn requested_output_is_recognized() {
    let options = |extra: &[&str]| RsyncOptions { extra: bytes(extra), ..RsyncOptions::default() };
    for (extra, summary, numbers, own) in [
        (&[][..], false, false, true),
        (&["--bwlimit=3", "-z"], false, false, true),
        (&["-vz"], true, false, true),
        // rsync would print statistics of its memory, too.
        (&["-vz", "--verbose"], true, false, false),
        (&["--stats"], true, true, false),
        (&["--info=progress2,stats1"], true, true, false),
        (&["--info=ALL", "--info=all0"], true, true, false),
        (&["--info=progress2"], false, false, false),
        (&["-P"], false, false, false),
        (&["-q"], false, false, false),
        (&["--files-from=stats"], false, false, true),
        (&["--out-format=%n", "-i"], false, false, true),
    ] {
        let options = options(extra);
        let found = (options.prints_summary(), options.prints_stats(), options.has_own_stats());
        assert_eq!(found, (summary, numbers, own), "{extra:?}");
    }
    let by_rules = RsyncOptions { form: ListForm::Filter, ..RsyncOptions::default() };
    assert!(!by_rules.has_own_stats());
    assert_eq!(options(&["--max-delete", "5"]).max_delete(), Some(5));
    assert_eq!(options(&["--max-delete=x"]).max_delete(), None);
    assert_eq!(options(&["--max-deleted", "5"]).max_delete(), None);
    assert!(
        options(&["-aHx"]).keeps_hard_links() && !options(&["-ax", "--rsh=H"]).keeps_hard_links()
    );
}

#[test]
fn the_last_switch_of_an_option_applies() {
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
        assert_eq!(options.stays_on_file_system(), stays, "{short} {extra:?}");
    }
}

#[test]
fn only_remote_targets_need_a_time_probe() {
    let has_to = |target: &[u8], change: fn(&mut RsyncOptions)| {
        let mut options = RsyncOptions::default();
        change(&mut options);
        let target = Target::new(target).unwrap();
        RsyncPlan::new(options, b"/src", target).needs_time_probe()
    };
    assert!(has_to(b"host:dst", |_| ()) && has_to(b"rsync://host/m/", |_| ()));
    assert!(!has_to(b"/dst", |_| ()));
    assert!(!has_to(b"host:dst", |it| it.short.retain(|letter| *letter != b't')));
    assert!(!has_to(b"host:dst", |it| it.extra.push(b"--modify-window=1".to_vec())));
    assert!(!has_to(b"host:dst", |it| it.form = ListForm::Filter));
}

#[test]
fn the_attributes_of_the_root_are_transferred_with_its_entries() {
    for (form, listed, transfers) in [
        (ListForm::FilesFrom, &[][..], false),
        (ListForm::FilesFrom, &["a/b"], false),
        (ListForm::FilesFrom, &["a/b", "a"], true),
        (ListForm::FilesFrom, &[""], true),
        (ListForm::Filter, &[], false),
        (ListForm::Filter, &["a/b"], true),
    ] {
        let options = RsyncOptions { form, ..RsyncOptions::default() };
        assert_eq!(options.transfers_root(&paths(listed)), transfers, "{form:?} {listed:?}");
    }
}

#[test]
fn arguments_forbid_directories_in_a_list() {
    let extra = |args: &[&str]| RsyncOptions { extra: bytes(args), ..RsyncOptions::default() };
    for args in [&[][..], &["-az", "--exclude=*.o", "--bwlimit", "100"], &["--rsh=ssh -p 2"]] {
        assert!(extra(args).may_list_directories(), "{args:?}");
    }
    for arg in [
        "--delete",
        "--del",
        "--delete-excluded",
        "-r",
        "--no-r",
        "-d",
        "--no-dirs",
        "-R",
        "--no-relative",
        "-F",
        "-f- *.o",
        "--filter=: .rules",
        "-C",
        "-m",
        "-M--delete",
        "--remove-source-files",
        "--remove-sent-files",
        "-aH",
        "operand",
    ] {
        assert!(!extra(&["-v", arg]).may_list_directories(), "{arg}");
    }
    let short = RsyncOptions { short: b"ltH".to_vec(), ..RsyncOptions::default() };
    let by_rules = RsyncOptions { form: ListForm::Filter, ..RsyncOptions::default() };
    assert!(!short.may_list_directories() && !by_rules.may_list_directories());
}
