//! What files say.

use std::{fs, time::Duration};

use mirror_core::{
    guard::{MaxDelete, ReplacedSource},
    job::Grounds,
    mirror::scripted::Reset,
    notice::Writes,
    plan::{
        exit::ExitClass,
        options::{DeletePolicy, Rules},
    },
    queue::Pace,
};
use tempfile::TempDir;

use super::*;
use crate::{
    config::{Kind, MOST_WAITING, PACE, Watch},
    report::Mode,
};

/// A place with the directory `src`, and what `conf.lua` with this text says there. `@` stands for
/// the place. The text of a refusal has it again.
struct Trial {
    place: TempDir,
    request: Request,
}

impl Trial {
    fn new(text: &[u8]) -> Self {
        let place = tempfile::tempdir().unwrap();
        let here = place.path().canonicalize().unwrap();
        fs::create_dir(here.join("src")).unwrap();
        let file = here.join("conf.lua");
        let at = here.as_os_str().as_bytes();
        let text: Vec<u8> = text
            .iter()
            .flat_map(|byte| if *byte == b'@' { at.to_vec() } else { vec![*byte] })
            .collect();
        fs::write(&file, text).unwrap();
        let request = Request {
            scripts: Vec::new(),
            file: Some(file),
            overrides: Overrides::default(),
            here,
            purpose: Purpose::Run,
        };
        Self { place, request }
    }

    fn load(&self) -> Result<Loaded, Refusal> {
        load(&self.request, &Log::default())
    }

    /// The lines of the refusal.
    fn refusal(&self) -> Vec<String> {
        let here = self.request.here.to_str().unwrap();
        match self.load() {
            Err(Refusal::Because(lines)) => {
                lines.iter().map(|line| line.replace(here, "@")).collect()
            }
            other => panic!("not refused: {other:?}"),
        }
    }
}

/// What a file with this text says.
fn says(text: &str) -> Setup {
    Trial::new(text.as_bytes()).load().unwrap_or_else(|why| panic!("{text}: {why:?}")).setup
}

/// The only sync of a file with this in it.
fn sync(text: &str) -> crate::config::Sync {
    let mut setup = says(&format!("sync{{ default.rsync, source='@/src', target='/t', {text} }}"));
    assert_eq!(setup.syncs.len(), 1);
    setup.syncs.remove(0)
}

fn refused(text: &str, lines: &[&str]) {
    assert_eq!(Trial::new(text.as_bytes()).refusal(), lines, "{text}");
}

/// A text is refused as the original does what fails in Lua: with the name of the file.
fn fails(text: &str, why: &str) {
    refused(text, &[&format!("error preparing @/conf.lua: {why}")]);
}

#[test]
fn a_plain_sync_has_the_defaults() {
    let setup = says("sync{ default.rsync, source='@/src', target='host:dst' }");
    let [sync] = &*setup.syncs else { panic!("{setup:?}") };
    assert_eq!((&*sync.name, sync.kind), ("Sync1", Kind::Rsync));
    assert!(sync.source.ends_with("src") && sync.source.is_absolute());
    assert_eq!(sync.target, "host:dst/");
    assert_eq!(sync.pace, PACE);
    assert!(sync.init && !sync.insist && sync.filter.is_empty());
    assert_eq!(sync.delete, DeletePolicy::Always);
    assert_eq!(sync.rsync.short, b"lts");
    assert_eq!(sync.binary, "rsync");
    assert_eq!(setup.daemon, crate::config::Daemon::default());
}

#[test]
fn settings_are_gathered_from_calls_and_assignments() {
    let daemon = says(
        "settings{ logfile='log', 'nodaemon', statusInterval='3', maxProcesses=4 }
         settings{ statusFile='run/s', logfacility='daemon', logident='x' }
         settings.onepass = 1
         assert(settings('statusInterval') == '3' and settings.onepass == 1)
         sync{ default.rsync, source='@/src', target='h:' }",
    )
    .daemon;
    assert_eq!(daemon.mode, Mode::Foreground);
    assert!(daemon.logfile.unwrap().is_absolute());
    let status = daemon.status_file.unwrap();
    assert!(status.is_absolute() && status.ends_with("run/s"), "{}", status.display());
    assert_eq!(daemon.status_interval, Duration::from_secs(3));
    assert_eq!((daemon.log_facility, daemon.log_ident), ("daemon".into(), "x".into()));
    assert_eq!((daemon.max_processes, daemon.onepass), (Some(4), true));
    assert_eq!(daemon.watch, Watch::Auto);
}

#[test]
fn the_command_line_comes_before_the_file() {
    let mut trial = Trial::new(
        b"settings{ logfile='a', insist=false }
          sync{ default.rsync, source='@/src', target='h:', delay=5, maxDelete=false }",
    );
    trial.request.overrides = Overrides {
        delay: Some(0.5),
        max_delete: Some(MaxDelete::Count(7)),
        insist: true,
        nodaemon: true,
        onepass: true,
        logfile: Some("/b".into()),
        pidfile: Some("/c".into()),
        watch: Some(Watch::Inotify),
    };
    let Setup { daemon, syncs, .. } = trial.load().unwrap().setup;
    assert_eq!(daemon.logfile, Some("/b".into()));
    assert_eq!(daemon.pidfile, Some("/c".into()));
    assert!(daemon.onepass && daemon.mode == Mode::Foreground && daemon.watch == Watch::Inotify);
    let delay = Duration::from_millis(500);
    assert_eq!(syncs[0].pace, Pace::Fixed { delay, max_waiting: MOST_WAITING });
    assert!(syncs[0].insist);
    assert_eq!(syncs[0].max_delete, MaxDelete::Count(7));
}

#[test]
fn an_explicit_key_wins_and_then_the_layer_that_comes_first() {
    let target = |text: &str| {
        let setup =
            says(&format!("{text} sync{{ {{target='h:c'}}, default.rsync, source='@/src' }}"));
        setup.syncs[0].target.clone()
    };
    assert_eq!(target(""), "h:c/");
    assert_eq!(target("default.rsync.target = 'h:d'"), "h:c/");
    let setup = says(
        "web = { default.rsync, rsync = { compress = true }, exclude = { 'a' } }
         sync{ web, source='@/src', target='h:1', exclude = { 'b' }, rsync = { links = false } }
         sync{ default.rsync, { rsync = { links = false } }, source='@/src', target='h:2' }
         sync{ { rsync = { links = false } }, default.rsync, source='@/src', target='h:3' }
         assert(#web.exclude == 1 and web.rsync.links == nil)",
    );
    let [one, two, three] = &*setup.syncs else { panic!() };
    assert_eq!(one.rsync.short, b"tsz");
    assert_eq!(one.exclusions.excludes, [b"b".to_vec(), b"a".to_vec()]);
    assert_eq!((&*two.rsync.short, &*three.rsync.short), (&b"lts"[..], &b"ts"[..]));
    assert_eq!(three.name, "Sync3");
}

#[test]
fn what_merges_is_said_by_the_table_that_is_merged() {
    let setup = says(
        "local base = { rsync = { _merge = false, perms = true } }
         sync{ default.rsync, base, source='@/src', target='h:1' }
         local only = { _merge = { target = true }, target = 'h:2', delay = 5 }
         sync{ only, default.rsync, source='@/src' }",
    );
    assert_eq!(setup.syncs[0].rsync.short, b"lts");
    assert_eq!((&setup.syncs[1].target, setup.syncs[1].pace), (&"h:2/".into(), PACE));
}

#[test]
fn the_order_of_settings_and_syncs_matters() {
    let setup = says(
        "sync{ default.rsync, source='@/src', target='h:1', delay=1, maxDelays=7 }
         settings{ maxDelays=3, maxProcesses=2 }
         sync{ default.rsync, source='@/src', target='h:2', delay=1, maxDelays=7 }
         sync{ default.rsyncssh, source='@/src', host='h', targetdir='3' }",
    );
    let delay = Duration::from_secs(1);
    assert_eq!(setup.syncs[0].pace, Pace::Fixed { delay, max_waiting: 7 });
    assert_eq!(setup.syncs[1].pace, Pace::Fixed { delay, max_waiting: 3 });
    let most: Vec<_> = setup.syncs.iter().map(|sync| sync.max_processes).collect();
    assert_eq!(most, [1, 2, 1]);
}

#[test]
fn who_prepares_a_sync_as_a_default_does_can_use_its_functions() {
    let setup = says(
        "sync{ checkgauge = { default.rsync.checkgauge }, prepare = default.rsync.prepare
             , action = function(inlet) default.rsync.action(inlet) end, source='@/src', target='h:1' }",
    );
    assert!(setup.syncs[0].kind == Kind::Rsync && setup.syncs[0].has_script());
}

#[test]
fn budgets_for_deletions_are_shares_numbers_or_none() {
    let half = sync("");
    assert_eq!(
        (half.max_delete, half.max_delete_seen),
        (MaxDelete::Share(50), MaxDelete::Unlimited)
    );
    for (text, budget) in [
        ("'10%'", MaxDelete::Share(10)),
        ("20", MaxDelete::Count(20)),
        ("'20'", MaxDelete::Count(20)),
        ("0", MaxDelete::Count(0)),
        ("false", MaxDelete::Unlimited),
    ] {
        let sync = sync(&format!("maxDelete = {text}, maxDeleteSeen = {text}"));
        assert_eq!((sync.max_delete, sync.max_delete_seen), (budget, budget), "{text}");
    }
    for (text, named) in
        [("true", "true"), ("-1", "-1"), ("0.5", "0.5"), ("'half'", "\"half\""), ("{}", "a table")]
    {
        fails(
            &format!("sync{{ default.rsync, source='@/src', target='h:', maxDelete={text} }}"),
            &format!(
                "@/conf.lua:1: maxDelete must be a share such as \"50%\", a number, or false, not {named}"
            ),
        );
    }
}

#[test]
fn what_a_source_must_be_is_said_in_the_sync() {
    let plain = sync("");
    assert_eq!((plain.replaced_source, plain.marker), (ReplacedSource::Wait, None));
    let sync = sync("replacedSource='budget', marker='.mounted', modifyWindow=1.5");
    assert_eq!(sync.replaced_source, ReplacedSource::Budget);
    assert_eq!(sync.marker, Some(".mounted".into()));
    assert_eq!(sync.modify_window, Some(Duration::from_millis(1500)));
    let direct = says("sync{ default.direct, source='@/src', target='/t', durable=true }");
    assert!(direct.syncs[0].durable && !sync.durable);
    for (text, why) in [
        (
            "replacedSource='x'",
            "replacedSource must be \"wait\", \"accept\" or \"budget\", not \"x\"",
        ),
        ("marker=''", "marker must be one name in the source, not \"\""),
        ("marker='a/b'", "marker must be one name in the source, not \"a/b\""),
        ("marker='..'", "marker must be one name in the source, not \"..\""),
        ("modifyWindow=-1", "modifyWindow must be a number and >= 0"),
    ] {
        let text = format!("sync{{ default.rsync, source='@/src', target='h:', {text} }}");
        fails(&text, &format!("@/conf.lua:1: {why}"));
    }
}

#[test]
fn only_true_and_two_words_delete() {
    for (text, policy) in [
        ("delete=true", DeletePolicy::Always),
        ("delete='startup'", DeletePolicy::Startup),
        ("delete='running'", DeletePolicy::Running),
        ("delete=false", DeletePolicy::Never),
        ("delete='false'", DeletePolicy::Never),
        ("delete=1", DeletePolicy::Never),
        // No quotes: nothing was said.
        ("delete=running", DeletePolicy::Always),
    ] {
        let sync = sync(text);
        assert_eq!((sync.delete, sync.rsync.delete), (policy, policy), "{text}");
    }
}

#[test]
fn a_sync_behind_ssh_is_an_rsync_to_its_host() {
    let setup = says(
        "sync{ default.rsyncssh, source='@/src', host='h', targetdir='~/x',
               ssh = { port=2222, identityFile='/k' } }",
    );
    let sync = &setup.syncs[0];
    assert_eq!((sync.kind, sync.target.to_str()), (Kind::Rsyncssh, Some("h:~/x/")));
    assert_eq!(sync.rsync.long, [b"--rsh=ssh -i /k -p 2222".to_vec()]);
    fails("sync{ default.rsync, source='@/src', target='' }", "@/conf.lua:1: target is empty");
    for (text, name) in
        [("host='', targetdir='x'", "host"), ("host='h', targetdir=''", "targetdir")]
    {
        let text = format!("sync{{ default.rsyncssh, source='@/src', {text} }}");
        fails(&text, &format!("@/conf.lua:1: {name} is empty"));
    }
}

#[test]
fn a_users_exit_codes_take_the_place_of_all() {
    let codes = sync("exitcodes = { [0]='ok', [1]='again', [13]='die' }").codes;
    assert_eq!(codes.class(13), ExitClass::Fatal(Grounds::User));
    assert_eq!(codes.class(1), ExitClass::Again);
    assert_eq!(sync("").codes, mirror_core::plan::exit::ExitCodes::rsync());
    fails(
        "sync{ default.rsync, source='@/src', target='h:', exitcodes={[1]='maybe'} }",
        "@/conf.lua:1: exitcodes[1] must be \"ok\", \"again\" or \"die\", not \"maybe\"",
    );
}

#[test]
fn patterns_come_from_lists_and_files() {
    let trial = Trial::new(
        b"sync{ default.rsync, source='@/src', target='h:', exclude={'a','*.o','a'}, excludeFrom='ex' }
          sync{ default.rsync, source='@/src', target='h:', exclude='.git', filter={'+ /x', ' -/y'}, filterFrom='fi' }
          sync{ default.rsync, source='@/src', target='h:', exclude={'#x', '- y'} }",
    );
    let here = &trial.request.here;
    fs::write(here.join("ex"), "# no\n; no\n\n  b c \r\n*.o\n").unwrap();
    fs::write(here.join("fi"), "# no\n- z\n").unwrap();
    let setup = trial.load().unwrap().setup;
    let texts = |texts: &[&str]| -> Vec<Vec<u8>> { texts.iter().map(|t| (*t).into()).collect() };
    let [one, two, three] = &*setup.syncs else { panic!() };
    assert_eq!(one.rsync.rules, Rules::Excludes(texts(&["a", "*.o", "b c "])));
    assert_eq!(two.exclusions.filters, texts(&["+ /x", "-/y", "- z"]));
    assert_eq!(two.rsync.rules, Rules::Filters(texts(&["+ /x", "- /y", "- z", "- .git"])));
    // These would be a comment and a rule in a list of patterns.
    assert_eq!(three.rsync.rules, Rules::Filters(texts(&["- #x", "- y"])));
}

/// Warnings of the first line of a file without that place in front.
fn without_places(warnings: Vec<String>) -> Vec<String> {
    let text = |warning: String| match warning.split_once("/conf.lua:1: ") {
        Some((_, text)) => text.to_owned(),
        None => panic!("no place: {warning}"),
    };
    warnings.into_iter().map(text).collect()
}

/// What a direct sync with this table `rsync` says, and its warnings.
fn direct(rsync: &str) -> (crate::config::Sync, Vec<String>) {
    let text =
        format!("sync{{ default.direct, source='@/src', target='/t', rsync = {{ {rsync} }} }}");
    let trial = Trial::new(text.as_bytes());
    fs::write(trial.request.here.join("ex"), "# no\nfrom-file\n").unwrap();
    let Loaded { mut setup, warnings, .. } = trial.load().unwrap_or_else(|why| panic!("{why:?}"));
    (setup.syncs.remove(0), without_places(warnings))
}

#[test]
fn rules_among_the_words_for_rsync_count_in_direct_and_come_first() {
    let (sync, warnings) = direct(
        "_extra = { '--include=/keep.o', '--exclude', '*.o', '-f- precious', '--exclude-from=ex' }",
    );
    assert_eq!(warnings, [""; 0]);
    for (name, is_excluded) in
        [("keep.o", false), ("a.o", true), ("precious", true), ("from-file", true), ("x", false)]
    {
        let path = mirror_core::path::TreePath::new(name.as_bytes()).unwrap();
        let kind = mirror_core::notice::Kind::Other;
        assert_eq!(sync.filter.excludes(&path, kind), is_excluded, "{name}");
        assert_eq!(sync.filter.protects(&path, kind), is_excluded, "{name}");
    }
}

#[test]
fn what_has_no_effect_in_direct_is_told_and_what_protects_is_refused() {
    assert_eq!(direct("archive = true, perms = true, xattrs = true").1, [""; 0]);
    assert_eq!(
        direct("binary = '/opt/mine', verbose = true").1,
        [
            "Sync1: rsync.verbose has no effect in default.direct",
            "Sync1: rsync.binary has no effect in default.direct",
        ]
    );
    let (_, warnings) = direct("compress = true, inplace = true, _extra = { '--fsync' }");
    assert_eq!(
        warnings,
        [
            "Sync1: rsync.compress has no effect in default.direct",
            "Sync1: rsync.inplace has no effect in default.direct",
            "Sync1: \"--fsync\" in rsync._extra has no effect in default.direct",
        ]
    );
    let refused = |rsync: &str, why: &str| {
        let text =
            format!("sync{{ default.direct, source='@/src', target='/t', rsync = {{ {rsync} }} }}");
        fails(&text, &format!("@/conf.lua:1: {why}"));
    };
    refused(
        "dry_run = true, _extra = { '--safe-links' }",
        "default.direct can't do what rsync.dry_run, \"--safe-links\" in rsync._extra says, and \
         without it something of the target could be lost: use default.rsync, or leave it out",
    );
    refused(
        "_extra = { '-f: .rules' }",
        "default.direct can't follow the filter rule \": .rules\": use default.rsync, or write its \
         patterns here",
    );
    refused(
        "_extra = { '--max-size=x' }",
        "\"--max-size=x\" in rsync._extra has no use for the value \"x\"",
    );
}

#[test]
fn rules_that_are_read_in_each_directory_are_refused() {
    for (more, place) in [
        ("filter = { ':- .gitignore' }", "filter has the merge rule \":- .gitignore\""),
        ("filter = { '- *.o', 'dir-merge,e .rules' }", "filter has the merge rule \":e .rules\""),
        (
            "rsync = { cvs_exclude = true }",
            "rsync.cvs_exclude has the merge rule \":C .cvsignore\"",
        ),
        ("rsync = { _extra = { '-C' } }", "rsync._extra has the merge rule \":C .cvsignore\""),
        (
            "rsync = { _extra = { '--cvs-exclude' } }",
            "rsync._extra has the merge rule \":C .cvsignore\"",
        ),
        ("rsync = { _extra = { '-aF' } }", "rsync._extra has the merge rule \": /.rsync-filter\""),
        (
            "rsync = { _extra = { '--exclude-from=missing', '-C' } }",
            "rsync._extra has the merge rule \":C .cvsignore\"",
        ),
        ("rsync = { _extra = { '-FF' } }", "rsync._extra has the merge rule \": /.rsync-filter\""),
        (
            "rsync = { _extra = { '-f', ': .rules' } }",
            "rsync._extra has the merge rule \": .rules\"",
        ),
        ("rsync = { _extra = { '--filter=:n .x' } }", "rsync._extra has the merge rule \":n .x\""),
    ] {
        for base in ["rsync, target = 'h:'", "rsyncssh, host = 'h', targetdir = 'd'"] {
            let text = format!("\nsync{{ default.{base}, source = '@/src', {more} }}");
            let why = format!(
                "{place}, whose files in each directory are read at a start only, and not for what \
                 changes later: write the patterns into exclude, excludeFrom or filter"
            );
            fails(&text, &format!("@/conf.lua:2: {why}"));
        }
    }
}

#[test]
fn what_the_original_refuses_is_refused_with_its_words() {
    let a = "default.rsync, source='@/src', target='h:'";
    refused("sync{default.rsync, target='x'}", &["@/conf.lua:1: source missing from sync."]);
    refused(
        "sync{default.rsync, source='no', target='x'}",
        &[
            "failure getting absolute path of [no]",
            "Cannot access source directory: no",
            "@/conf.lua:1: the source can't be used",
        ],
    );
    refused(&format!("sync{{{a}, action=false}}"), &["@/conf.lua:1: no actions specified."]);
    refused("x = = 1", &["error loading @/conf.lua: @/conf.lua:1: unexpected symbol near '='"]);
    fails("\nerror('boom')", "@/conf.lua:2: boom");
    fails("settings{foo=1}", "@/conf.lua:1: setting \"foo\" unknown.");
    fails("settings{'foo'}", "@/conf.lua:1: setting \"foo\" unknown.");
    fails(
        &format!("sync{{{a}, rsync={{foo=1}}}}"),
        "@/conf.lua:1: Parameter \"rsync.foo\" unknown. ( if this is not a typo add it to checkgauge ) \
         Hint: what has no name here is written as a word of rsync: _extra = { \"--NAME=VALUE\" }.",
    );
    fails(&format!("sync{{{a}, rsync=1}}"), "@/conf.lua:1: Parameter \"rsync\" must be a table.");
    fails(&format!("sync{{{a}, delay=-1}}"), "@/conf.lua:1: delay must be a number and >= 0");
    fails(
        &format!("sync{{{a}, exclude=5}}"),
        "@/conf.lua:1: type for exclude must be table or string",
    );
    fails(
        "sync{default.rsync, source='@/src'}",
        "@/conf.lua:1: default.rsync needs \"target\" configured",
    );
    refused(
        &format!("sync{{{a}, excludeFrom='/no'}}"),
        &[
            "Cannot open exclude file \"/no\": /no: No such file or directory",
            "@/conf.lua:1: excludeFrom can't be used",
        ],
    );
}

#[test]
fn a_refusal_that_is_caught_is_one_all_the_same() {
    refused("pcall(sync, {default.rsync, target='x'})", &["source missing from sync."]);
}

#[test]
fn old_and_mistyped_names_are_told_what_to_write() {
    fails(
        "settings{insisit=true}",
        "@/conf.lua:1: setting \"insisit\" unknown. Did you mean \"insist\"?",
    );
    fails(
        "settings{delay=1}",
        "@/conf.lua:1: setting \"delay\" unknown. Hint: write delay in each sync{}, \
         or -delay on the command line.",
    );
    fails(
        "sync{default.rsync, source='@/src', target='h:', rsyncOps={}}",
        "@/conf.lua:1: Parameter \"rsyncOps\" unknown. ( if this is not a typo add it to checkgauge ) \
         Hint: write rsync = {..} with its options, such as archive = true.",
    );
    let old = [
        "Do not use settings = { ... }\n      please use settings{ ... } (without the equal sign)",
    ];
    refused("settings = {} sync{default.rsync, source='@/src', target='h:'}", &old);
}

#[test]
fn a_gauge_of_the_users_own_lets_names_pass() {
    sync("checkgauge = { default.rsync.checkgauge, mine = true }, mine = 5");
    sync("checkgauge = false, mine = 5");
    sync("prepare = function(config, level) default.rsync.prepare(config, level + 6) end");
}

#[test]
fn single_functions_of_a_default_may_be_taken() {
    let setup = says(
        "sync{ action = default.rsync.action, prepare = default.rsync.prepare, init = default.init,
               checkgauge = default.rsync.checkgauge, source='@/src', target='h:x',
               rsync = { binary = '/usr/bin/rsync', times = true } }",
    );
    assert_eq!(setup.syncs[0].rsync.short, b"t");
    assert_eq!(
        (setup.syncs[0].kind, &*setup.syncs[0].binary),
        (Kind::Rsync, "/usr/bin/rsync".as_ref())
    );
}

#[test]
fn who_has_functions_of_his_own_has_a_script() {
    for text in ["init = function() end", "collect = function() end", "action = function() end"] {
        let setup = says(&format!("sync{{default.rsync, source='@/src', target='h:', {text}}}"));
        let sync = &setup.syncs[0];
        let script = sync.script.as_ref().map(|script| (script.number, script.moves, script.full));
        assert_eq!((sync.kind, script), (Kind::Rsync, Some((1, false, true))), "{text}");
        assert!(sync.script.as_ref().is_some_and(|script| script.anew == Reset::Clear), "{text}");
    }
    for (text, anew) in [
        ("onStartup='echo'", Reset::Clear),
        ("onCreate='echo'", Reset::Keep),
        ("onStartup='echo', init=false", Reset::Keep),
    ] {
        let setup = says(&format!("sync{{source='@/src', {text}}}"));
        assert_eq!(setup.syncs[0].script.as_ref().map(|it| it.anew), Some(anew), "{text}");
    }
    for (mode, writes) in
        [("", Writes::Closed), ("Modify", Writes::Written), ("CloseWrite or Modify", Writes::Both)]
    {
        let setup = says(&format!(
            "settings{{inotifyMode='{mode}'}} sync{{source='@/src', onCreate='echo'}}"
        ));
        assert_eq!(setup.syncs[0].script.as_ref().map(|script| script.writes), Some(writes));
    }
    let setup = says("sync{source='@/src', onCreate='echo', onMove='mv', delay=2, subdirs=false}");
    let script = setup.syncs[0].script.clone().unwrap();
    assert_eq!(setup.syncs[0].kind, Kind::Own);
    assert!(script.moves && !script.full && !script.subdirectories);
    assert_eq!(script.delay, Duration::from_secs(2));
    // What such a one means by the names of ours is its own affair.
    says(
        "sync{source='@/src', onCreate='echo', target={1}, rsync=1, exitcodes={[0]='fine'}, checkgauge=false}",
    );
    // With the function that ends every sync, as if nothing were said.
    says(
        "sync{{action=default.rsync.action, init=default.rsync.init}, source='@/src', target='h:'}",
    );
    sync("init = true");
    assert!(!sync("init = false").init);
}

#[test]
fn a_file_is_read_as_lua_reads_it() {
    for start in
        [&b"#!/usr/bin/lsyncd\n"[..], b"\xef\xbb\xbf", b"\xef\xbb\xbf# x\n", b"-- caf\xe9\r\n"]
    {
        let text = [start, b"sync{default.rsync, source='@/src', target='h:'}\r\n"].concat();
        assert_eq!(Trial::new(&text).load().unwrap().setup.syncs.len(), 1, "{start:?}");
    }
    // Lines are counted with the one that was left out.
    refused(
        "# x\nx = = 1",
        &["error loading @/conf.lua: @/conf.lua:2: unexpected symbol near '='"],
    );
}

#[test]
fn a_file_can_ask_where_it_is_and_read_others() {
    let trial = Trial::new(
        b"local me = debug.getinfo(1).source
          assert(me == '@@/conf.lua', me)
          assert(debug.getinfo(1).currentline == 3)
          dofile('@/more.lua')
          for name, is_dir in pairs(readdir('@')) do
              if is_dir then sync{ default.rsync, source='@/' .. name, target='h:' .. name } end
          end
          assert(string.starts('abc', 'ab') and string.ends('abc', 'bc') and table.contains({1}, 1))"
    );
    fs::write(trial.request.here.join("more.lua"), "more = 1").unwrap();
    // The first `@` is Lua's own mark.
    let file = trial.request.file.as_ref().unwrap();
    let text = fs::read_to_string(file).unwrap();
    let here = trial.request.here.to_str().unwrap();
    fs::write(file, text.replace(&format!("{here}{here}/conf"), &format!("@{here}/conf"))).unwrap();
    assert_eq!(trial.load().unwrap().setup.syncs.len(), 1);
}

#[test]
fn a_file_may_end_the_program() {
    for (text, code) in
        [("os.exit(3)", 3), ("os.exit(true)", 0), ("pcall(os.exit, 300)", 44), ("terminate(2)", 2)]
    {
        assert_eq!(Trial::new(text.as_bytes()).load().err(), Some(Refusal::Exit(code)), "{text}");
    }
}

#[test]
fn a_look_changes_nothing() {
    let mut trial = Trial::new(
        b"os.execute('touch @/touched')
          os.remove('@/conf.lua')
          os.rename('@/conf.lua', '@/x')
          local file = io.open('@/written', 'w') file:write('x') file:close()
          local names = io.popen('echo src'):read()
          sync{ default.rsync, source='@/' .. names, target='h:t' }",
    );
    trial.request.purpose = Purpose::Check;
    let loaded = trial.load().unwrap();
    assert_eq!(loaded.setup.syncs.len(), 1);
    assert_eq!(loaded.warnings.len(), 4, "{:?}", loaded.warnings);
    assert!(loaded.warnings[0].starts_with("not carried out for a check: os.execute(\"touch "));
    let mut names: Vec<_> =
        fs::read_dir(trial.place.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["conf.lua", "src"]);
}

#[test]
fn globals_are_closed_after_loading() {
    let lua = Lua::new();
    let trial = Trial::new(b"");
    let host = Host::new(Log::default(), trial.request.here.clone());
    let table = host.table(&lua, None).unwrap();
    let front = prepare(&lua, &table, &Scripts::new(&lua).unwrap()).unwrap();
    lua.load("known = 1").exec().unwrap();
    front.get::<Function>("seal").unwrap().call::<()>(()).unwrap();
    lua.load("assert(known == 1) known = 2 _ = 1 __x = 2 assert(__y == nil)").exec().unwrap();
    for (text, why) in [
        ("return nope", "Access of non-existing global \"nope\""),
        (
            "nope = 1",
            "Lsyncd does not allow GLOBALS to be created on the fly. \
                      Declare \"nope\" local or declare global on load.",
        ),
        ("sync{}", "Sync can only be created during initialization."),
    ] {
        let error = lua.load(text).set_name("=x").exec().unwrap_err();
        assert_eq!(error::message(&error), format!("x:1: {why}"));
    }
}

#[test]
fn two_loads_of_a_file_say_the_same() {
    let trial = Trial::new(
        b"sync{ default.rsync, source='@/src', target='h:', exclude={'a','b','c'}, rsync={archive=true, compress=true} }
          sync{ default.rsyncssh, source='@/src', host='h', targetdir='x', ssh={options={A=1,B=2,C=3,D=4}} }",
    );
    let setup = || trial.load().unwrap().setup;
    assert_eq!(setup(), setup());
}

#[test]
fn what_sync_returns_can_still_change_what_is_excluded() {
    let setup = says(
        "local s = sync{ default.rsync, source='@/src', target='h:', exclude={'a','b'} }
         s.rmExclude('a')
         s.addExclude('c')
         assert(#s.getExcludes() == 2 and s.getConfig().target == 'h:')",
    );
    assert_eq!(setup.syncs[0].exclusions.excludes, [b"b".to_vec(), b"c".to_vec()]);
}

#[test]
fn a_setting_of_the_original_or_ours_is_known() {
    let mine = sync("name = 'web', listForm = 'filter'");
    assert_eq!(mine.name, "web");
    assert_eq!(mine.rsync.form, mirror_core::plan::options::ListForm::Filter);
    let daemon = says(
        "settings{ statusIntervall = 4, watch = 'inotify' }
         sync{ default.rsync, source='@/src', target='h:' }",
    )
    .daemon;
    assert_eq!(daemon.status_interval, Duration::from_secs(4));
    assert_eq!(daemon.watch, Watch::Inotify);
}

/// A file in which much is wrong.
const WRONG: &str = "settings{
            logfile = {},
            statusIntervall = 'often',
            maxProcesses = 'many', maxDelays = 'lots',
            inotifyMode = 'Foo',
            watch = 'dnotify',
        }
        settings.logident = {}
        local t = tunnel{
            command = 'x',
            mode = 'y',
        }
        tunnel{ name = 'x', command = 'x', retryDelay = 'soon' }
        sync{ default.rsync, source='@/src', target='h:',
            delay = 'x',
            maxDelete = 'y',
            rsync = {
                bwlimit = {},
            },
            tunnel = t,
        }
        sync{ default.direct, source='@/src', target='/t',
            crontab = '* *',
            marker = {},
            replacedSource = 'yes',
        }";

#[test]
fn all_that_is_wrong_is_told_with_its_line() {
    let expected = [
        (2, "logfile must be a text, not a table"),
        (3, "statusInterval must be a number and >= 0"),
        (8, "logident must be a text, not a table"),
        (4, "maxDelays must be a number"),
        (4, "maxProcesses must be a number"),
        (6, "watch must be auto, inotify or fanotify, not 'dnotify'"),
        (0, "'Foo' not a valid inotfiyMode."),
        (5, "inotifyMode can't be used"),
        (11, "mode must be \"command\" or \"pool\", not \"y\""),
        (13, "tunnel.retryDelay must be a number and >= 0"),
        (18, "rsync.bwlimit must be a text, not a table"),
        (15, "delay must be a number and >= 0"),
        (16, "maxDelete must be a share such as \"50%\", a number, or false, not \"y\""),
        (23, "Sync: Sync2 - crontab rule 1 is not valid: "),
        (25, "replacedSource must be \"wait\", \"accept\" or \"budget\", not \"yes\""),
        (24, "marker must be a text, not a table"),
    ];
    let lines = Trial::new(WRONG.as_bytes()).refusal();
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, (number, why)) in lines.iter().zip(expected) {
        let line = line.strip_prefix("error preparing @/conf.lua: ").unwrap_or(line);
        let start = if number == 0 { why.into() } else { format!("@/conf.lua:{number}: {why}") };
        assert!(line.starts_with(&start), "{line} is not {start}");
    }
}

#[test]
fn a_target_that_is_no_text_is_told_once() {
    fails(
        "sync{ default.rsync, source='@/src', target={'h:', 'i:'} }",
        "@/conf.lua:1: target must be a text, not a table",
    );
}

#[test]
fn a_script_that_does_nothing_or_has_no_function_is_told() {
    let warnings = |rest: &str| {
        let trial =
            Trial::new(format!("sync{{ source='@/src',\n target='x', {rest} }}").as_bytes());
        let here = trial.request.here.to_str().unwrap();
        trial.load().unwrap().warnings.iter().map(|it| it.replace(here, "@")).collect::<Vec<_>>()
    };
    assert_eq!(
        warnings(""),
        ["@/conf.lua:1: Sync1: source is watched, and nothing is done: write default.rsync, \
          default.rsyncssh or default.direct in front, or functions such as onCreate"]
    );
    for rest in [
        "onCreate = 'true'",
        "onStartup = function() end",
        "action = function() end",
        "init = function() end",
        "onMove = 'true'",
    ] {
        assert_eq!(warnings(rest), [""; 0], "{rest}");
    }
    assert_eq!(
        warnings("onCreate = 'true', onModify = 5"),
        [
            "@/conf.lua:2: Sync1: onModify must be a function, not a number: it fails when it is called"
        ]
    );
    assert!(warnings("action = 'rsync -a'")[0].contains("action must be a function"));
}

#[test]
fn an_exit_code_that_is_a_text_is_told() {
    let text = "sync{ default.rsync, source='@/src', target='/t',
        exitcodes = { [0] = 'ok', ['23'] = 'again', foo = 'die' } }";
    let trial = Trial::new(text.as_bytes());
    let here = trial.request.here.to_str().unwrap();
    let warnings = trial.load().unwrap().warnings.concat().replace(here, "@");
    for says in [
        "@/conf.lua:2: Sync1: exitcodes has the key \"23\", which is no number and means nothing: \
         write [23]",
        "the key \"foo\"",
    ] {
        assert!(warnings.contains(says), "{warnings}");
    }
}

#[test]
fn switches_that_look_like_off_are_told_with_their_lines() {
    let text = "settings{ insist = true,
            nodaemon = 'no' }
        sync{ default.rsync, source='@/src', target='/t',
            init = 'false',
            rsync = { archive = true,
                perms = 0 } }
        sync{ source='@/src', onMove = 'false', onCreate = 'true', subdirs = 'off' }";
    let trial = Trial::new(text.as_bytes());
    let warnings = trial.load().unwrap().warnings;
    let here = trial.request.here.to_str().unwrap();
    let starts: Vec<_> = warnings
        .iter()
        .map(|warning| warning.replace(here, "@").split_once(" is on").unwrap().0.to_owned())
        .collect();
    assert_eq!(
        starts,
        [
            "@/conf.lua:2: nodaemon = \"no\"",
            "@/conf.lua:4: Sync1: init = \"false\"",
            "@/conf.lua:6: Sync1: rsync.perms = 0",
            "@/conf.lua:7: Sync2: subdirs = \"off\"",
        ]
    );
}

#[test]
fn what_is_checked_at_once_is_refused_at_once() {
    let a = "default.rsync, source='@/src', target='h:'";
    for mode in ["CloseWrite", "Modify", "CloseWrite or Modify", ""] {
        says(&format!("settings{{ inotifyMode = '{mode}' }} sync{{ {a} }}"));
    }
    refused(
        &format!("settings{{ inotifyMode = 'Foo' }} sync{{ {a} }}"),
        &["'Foo' not a valid inotfiyMode.", "@/conf.lua:1: inotifyMode can't be used"],
    );
    for (value, why) in [
        ("'foo'", "Logging facility 'foo' unknown."),
        ("3", "Logging facility '3' unknown."),
        ("{}", "Logging facility must be a number or string"),
    ] {
        refused(
            &format!("settings{{ logfacility = {value} }} sync{{ {a} }}"),
            &[why, "@/conf.lua:1: logfacility can't be used"],
        );
    }
    let few = sync("maxProcesses = 0, maxDelays = 0.5, delay = 1");
    let delay = Duration::from_secs(1);
    assert_eq!((few.max_processes, few.pace), (1, Pace::Fixed { delay, max_waiting: 1 }));
    let few =
        says(&format!("settings{{ maxProcesses = 0, maxDelays = -1 }} sync{{ {a}, delay = 1 }}"));
    assert_eq!(few.daemon.max_processes, Some(1));
    assert_eq!(few.syncs[0].pace, Pace::Fixed { delay, max_waiting: 1 });
    assert_eq!(says(&format!("sync{{ {a}, maxProcesses = 4 }}")).syncs[0].max_processes, 4);
    fails(
        &format!("sync{{ {a}, listForm = 'x' }}"),
        "@/conf.lua:1: listForm must be \"files-from\" or \"filter\", not \"x\"",
    );
}

#[test]
fn what_is_odd_is_told() {
    let warnings = |text: &str| {
        let text = format!("sync{{ default.rsync, source='@/src', target='h:t', {text} }}");
        without_places(Trial::new(text.as_bytes()).load().unwrap().warnings)
    };
    assert_eq!(warnings(""), [""; 0]);
    assert_eq!(
        warnings("rsync = { _extra = '--bwlimit=1' }"),
        ["Sync1: rsync._extra is ignored: it must be a list, _extra = { \"..\" }"]
    );
    for value in ["'false'", "1", "'never'"] {
        let told = warnings(&format!("delete = {value}"));
        assert!(told.len() == 1 && told[0].contains("deletes nothing"), "{told:?}");
    }
    assert_eq!(warnings("delete = 'startup'"), [""; 0]);
    let missing = warnings("rsync = { password_file = '/nonexistent/x' }");
    assert_eq!(
        missing,
        ["Sync1: password_file: cannot find /nonexistent/x: No such file or directory"]
    );
    for text in [
        "rsync = { _extra = { '--password-file=/nonexistent/x' } }",
        "ssh = { _extra = { '-i', '/nonexistent/x' } }",
        "ssh = { _extra = { '-i/nonexistent/x' } }",
        "ssh = { options = { identityfile = '/nonexistent/x' } }",
    ] {
        let text =
            format!("sync{{ default.rsyncssh, source='@/src', host='h', targetdir='/t', {text} }}");
        let told = without_places(Trial::new(text.as_bytes()).load().unwrap().warnings);
        assert!(told.len() == 1 && told[0].contains("cannot find /nonexistent/x"), "{told:?}");
    }
    for (binary, count) in [("/opt/rsync", 0), ("/opt/wrapper", 1)] {
        let told = warnings(&format!("rsync = {{ binary = '{binary}' }}"));
        assert_eq!(told.len(), count, "{told:?}");
        let said = warnings(&format!("rsync = {{ binary = '{binary}' }}, listForm = 'filter'"));
        assert_eq!(said, [""; 0]);
    }
    // Of a key that is written twice the last one counts.
    let relative = warnings("target = 'here'");
    assert!(relative[0].starts_with("Sync1: the target 'here/' is relative"), "{relative:?}");
}

#[test]
fn a_global_that_is_not_there_is_told_with_its_line() {
    let warnings = |text: &str| {
        let text = format!("{text}\nsync{{ default.rsync, source='@/src', target='h:t' }}");
        let trial = Trial::new(text.as_bytes());
        fs::write(trial.request.here.join("probing.lua"), "return jit2 or nope").unwrap();
        let here = trial.request.here.to_str().unwrap().to_owned();
        let warnings = trial.load().unwrap().warnings;
        warnings.iter().map(|line| line.replace(&here, "@")).collect::<Vec<_>>()
    };
    assert_eq!(
        warnings("local x = 1\nlocal y = { delete = running }"),
        ["@/conf.lua:2: there is no global running, so this is nil; if a text is meant, write \
          \"running\""]
    );
    for text in [
        "local x = jit or setfenv or _NOTHING",
        "found = 1 local y = found",
        "package.path = '@/?.lua' require 'probing'",
    ] {
        assert_eq!(warnings(text), [""; 0], "{text}");
    }
}

#[test]
fn all_that_is_wrong_with_a_file_is_told_at_once_with_its_lines() {
    refused(
        "settings{\n  logfile = 'x',\n  lofgile = 'y',\n}
         sync{\n  default.rsync,\n  source = '@/src',\n  target = '/t',\n  dealy = 5,
           maxDelete = 'x',\n  rsync = {\n    archiv = true,\n  },\n}
         sync{ default.rsync, source = 'no', target = '/t' }
         sync{\n default.direct,\n source = '@/src',\n target = '/t',\n delay = -1,
           maxDelete = 'y' }
         sync{ default.rsynk, source = '@/src', target = '/t' }
         sync{ default.rsync, target = '/t' }",
        &[
            "error preparing @/conf.lua: @/conf.lua:3: setting \"lofgile\" unknown. Did you mean \
             \"logfile\"?",
            "error preparing @/conf.lua: @/conf.lua:9: Parameter \"dealy\" unknown. ( if this is not \
             a typo add it to checkgauge ) Did you mean \"delay\"?",
            "error preparing @/conf.lua: @/conf.lua:12: Parameter \"rsync.archiv\" unknown. ( if \
             this is not a typo add it to checkgauge ) Did you mean \"archive\"?",
            "error preparing @/conf.lua: @/conf.lua:22: default.rsynk is unknown. Did you mean \
             \"default.rsync\"?",
            "@/conf.lua:23: source missing from sync.",
            "failure getting absolute path of [no]",
            "Cannot access source directory: no",
            "@/conf.lua:15: the source can't be used",
            "error preparing @/conf.lua: @/conf.lua:10: maxDelete must be a share such as \"50%\", a \
             number, or false, not \"x\"",
            "error preparing @/conf.lua: @/conf.lua:20: delay must be a number and >= 0",
            "error preparing @/conf.lua: @/conf.lua:21: maxDelete must be a share such as \"50%\", a \
             number, or false, not \"y\"",
        ],
    );
}

#[test]
fn a_name_belongs_where_it_is_known() {
    let a = "default.rsync, source='@/src', target='h:t'";
    let unknown = |name: &str, more: &str| {
        format!(
            "@/conf.lua:1: Parameter \"{name}\" unknown. ( if this is not a typo add it to \
             checkgauge ){more}"
        )
    };
    fails(
        &format!("sync{{ {a}, insist = true }}"),
        &unknown("insist", " It belongs into settings{ .. }."),
    );
    fails(
        &format!("sync{{ {a}, compress = true }}"),
        &unknown("compress", " It belongs into rsync = { .. }."),
    );
    let Err(Refusal::Because(lines)) =
        Trial::new(b"sync{ source='@/src', onCreate='true', rsyncOpts = '-a' }").load()
    else {
        panic!("it is taken")
    };
    assert!(lines[0].contains("checkgauge = { default.checkgauge, NAME = true }"), "{lines:?}");
    let lets_pass =
        "checkgauge = { default.checkgauge, rsyncOpts = true }, rsyncOpts = '-a', rsync = {}";
    let Err(Refusal::Because(lines)) =
        Trial::new(format!("sync{{ source='@/src', onCreate='true', {lets_pass} }}").as_bytes())
            .load()
    else {
        panic!("it is taken")
    };
    assert!(lines.len() == 1 && lines[0].contains("\"rsync\""), "{lines:?}");
    fails(
        "settings{ { logfile = 'x' } } sync{ default.rsync, source='@/src', target='/t' }",
        "@/conf.lua:1: settings takes names, not a table in a table: settings{ logfile = .. }",
    );
    fails(
        &format!("sync{{ {a}, 'init' }}"),
        "@/conf.lua:1: Parameter \"1\" unknown: the text \"init\" stands where a name belongs: write \
         NAME = VALUE",
    );
    fails(
        &format!("sync{{ {a}, [{{}}] = 1 }}"),
        "@/conf.lua:1: a table stands where a name belongs: write NAME = VALUE",
    );
}

#[test]
fn the_defaults_have_what_scripts_read_and_a_sync_does_not_inherit_it() {
    says(
        "assert(default.rsync.delay == 15 and default.rsyncssh.delay == 15)
         assert(default.direct.delay == 1 and default.direct.maxProcesses == 1)
         assert(default.rsyncssh.maxProcesses == 1 and default.statusInterval == 10)
         assert(default.rsyncExitCodes[12] == 'again' and default.sshExitCodes[255] == 'again')
         assert(type(default.rsyncssh.ssh._extra) == 'table' and default.delay == nil)
         sync{ default.rsync, source='@/src', target='h:t' }",
    );
    assert_eq!(sync("").pace, PACE);
    let delay = Duration::from_secs(3);
    let setup = says("default.rsync.delay = 3 sync{ default.rsync, source='@/src', target='h:t' }");
    assert_eq!(setup.syncs[0].pace, Pace::Fixed { delay, max_waiting: MOST_WAITING });
}

#[test]
fn what_older_versions_of_lua_had_is_there() {
    says(
        "assert(bit32.band(0xff, 0x0f) == 15 and bit32.bor(1, 2, 4) == 7 and bit32.bxor(5, 1) == 4)
         assert(bit32.bnot(0) == 0xffffffff and bit32.lshift(1, 31) == 0x80000000)
         assert(bit32.rshift(0x80000000, 31) == 1 and bit32.lshift(1, 32) == 0)
         assert(bit32.arshift(0x80000000, 31) == 0xffffffff and bit32.arshift(4, 1) == 2)
         assert(bit32.lrotate(0x80000001, 1) == 3 and bit32.rrotate(3, 1) == 0x80000001)
         assert(bit32.extract(0xf0, 4, 4) == 15 and bit32.replace(0, 5, 4, 4) == 0x50)
         assert(bit32.btest(1, 1) and not bit32.btest(1, 2))
         for _, version in ipairs{ '5.4', '5.3', '5.1' } do
             assert(package.path:find('/usr/share/lua/' .. version .. '/?.lua', 1, true))
         end
         sync{ default.rsync, source='@/src', target='h:t' }",
    );
}

#[test]
fn a_module_of_the_users_own_goes_before_ours() {
    let text = "package.path = '@/?.lua;' .. package.path socket = require 'socket'
                assert(socket.mine == MINE) assert(MINE or socket.dns.toip('127.0.0.1') == '127.0.0.1')
                assert(MINE or select(2, socket.dns.toip('no-such-host.invalid')) == 'host not found')
                sync{ default.rsync, source='@/src', target='h:t' }";
    says(&format!("MINE = nil {text}"));
    for (module, mine) in [("return { mine = 1 }", "1"), ("return require 'socket.core'", "nil")] {
        let trial = Trial::new(format!("MINE = {mine} {text}").as_bytes());
        fs::write(trial.request.here.join("socket.lua"), module).unwrap();
        trial.load().unwrap_or_else(|why| panic!("{module}: {why:?}"));
    }
}

#[test]
fn what_removes_sources_and_deletes_is_refused() {
    let text = |more: &str| {
        format!(
            "sync{{ default.rsync, source='@/src', target='/t', {more} \
             rsync = {{ _extra = {{ '--remove-source-files' }} }} }}"
        )
    };
    let Err(Refusal::Because(lines)) = Trial::new(text("").as_bytes()).load() else {
        panic!("it is taken")
    };
    assert!(lines[0].contains("has --remove-source-files while delete is on"), "{lines:?}");
    says(&text("delete = false,"));
    for word in ["--delete", "--del", "--delete-after", "--delete-excluded"] {
        let text = text("delete = false,").replace("files'", &format!("files', '{word}'"));
        assert!(Trial::new(text.as_bytes()).load().is_err(), "{word}");
    }
}

#[test]
fn a_target_in_its_source_may_be_left_out_by_any_rule() {
    let text = |base: &str, more: &str| {
        format!("sync{{ {base}, source='@/src', target='@/src/mnt/backup', {more} }}")
    };
    for more in
        ["exclude = '/mnt'", "filter = '- /**'", "rsync = { _extra = { '--exclude=/mnt' } }"]
    {
        says(&text("default.rsync", more));
        says(&text("default.direct", more));
    }
    for base in ["default.rsync", "default.direct"] {
        let Err(Refusal::Because(lines)) = Trial::new(text(base, "").as_bytes()).load() else {
            panic!("it is taken")
        };
        assert!(lines[0].contains("lies inside its source"), "{lines:?}");
    }
    // What a target means to a script is its own business.
    says(&text("default.rsync", "action = function() end"));
    says("sync{ source='@/src', target='@/src/x', onCreate='true' }");
}

#[test]
fn a_crontab_is_checked_rule_by_rule() {
    assert_eq!(sync("crontab = { '0 30 4 * * *', '0 0 */2 1 JAN *' }").crontab.len(), 2);
    let text = "sync{ default.rsync, source='@/src', target='h:', crontab={'* * * * * *', '* *'} }";
    let lines = Trial::new(text.as_bytes()).refusal();
    let start =
        "error preparing @/conf.lua: @/conf.lua:1: Sync: Sync1 - crontab rule 2 is not valid: ";
    assert!(lines[0].starts_with(start) && lines[0].ends_with(" . Rule: * *"), "{lines:?}");
}
