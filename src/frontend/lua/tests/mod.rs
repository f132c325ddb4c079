//! Tests of configuration files.

use std::{fs, time::Duration};

use mirror_core::{
    fs_event::WriteDetection,
    guard::{MaxDelete, ReplacedSource},
    job::FatalReason,
    mirror::scripted::{FullHandling, RestartMode},
    plan::{
        exit::ExitClass,
        options::{DeletePolicy, ExcludeRules},
    },
    queue::Debounce,
};
use tempfile::TempDir;

use super::*;
use crate::{
    config::{DEFAULT_MAX_DELAYS, SyncKind, WatchBackend},
    report::RunMode,
};

/// A directory with the directory `src` and the file `conf.lua` with this text. `@` stands for the
/// directory, also in the lines of an error.
struct ConfigFixture {
    dir: TempDir,
    request: LoadRequest,
}

impl ConfigFixture {
    fn new(text: &[u8]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let start_dir = dir.path().canonicalize().unwrap();
        fs::create_dir(start_dir.join("src")).unwrap();
        let file = start_dir.join("conf.lua");
        let at = start_dir.as_os_str().as_bytes();
        let text: Vec<u8> = text
            .iter()
            .flat_map(|byte| if *byte == b'@' { at.to_vec() } else { vec![*byte] })
            .collect();
        fs::write(&file, text).unwrap();
        let request = LoadRequest {
            scripts: Vec::new(),
            file: Some(file),
            overrides: Overrides::default(),
            start_dir,
            purpose: LoadPurpose::Run,
        };
        Self { dir, request }
    }

    fn load(&self) -> Result<Loaded, ConfigError> {
        load(&self.request, &Log::default())
    }

    fn error_lines(&self) -> Vec<String> {
        let start_dir = self.request.start_dir.to_str().unwrap();
        match self.load() {
            Err(ConfigError::Invalid(lines) | ConfigError::MissingSource(lines)) => {
                lines.iter().map(|line| line.replace(start_dir, "@")).collect()
            }
            other => panic!("not refused: {other:?}"),
        }
    }
}

/// Loads a file with this text.
fn says(text: &str) -> Config {
    ConfigFixture::new(text.as_bytes())
        .load()
        .unwrap_or_else(|why| panic!("{text}: {why:?}"))
        .config
}

/// Loads a file with a sync that has these settings, and returns the sync.
fn sync(text: &str) -> crate::config::SyncConfig {
    let mut config = says(&format!("sync{{ default.rsync, source='@/src', target='/t', {text} }}"));
    assert_eq!(config.syncs.len(), 1);
    config.syncs.remove(0)
}

fn refused(text: &str, lines: &[&str]) {
    assert_eq!(ConfigFixture::new(text.as_bytes()).error_lines(), lines, "{text}");
}

/// Asserts that a text is refused with a Lua error, which is prefixed with the file name as in the
/// original.
fn fails(text: &str, why: &str) {
    refused(text, &[&format!("error preparing @/conf.lua: {why}")]);
}

#[test]
fn plain_sync_has_the_defaults() {
    let config = says("sync{ default.rsync, source='@/src', target='host:dst' }");
    let [sync] = &*config.syncs else { panic!("{config:?}") };
    assert_eq!((&*sync.name, sync.kind), ("Sync1", SyncKind::Rsync));
    assert!(sync.source.ends_with("src") && sync.source.is_absolute());
    assert_eq!(sync.target, "host:dst/");
    assert_eq!(sync.debounce, Debounce::DEFAULT);
    assert!(sync.init && !sync.insist && sync.filter.is_empty());
    assert_eq!(sync.delete, DeletePolicy::Always);
    assert_eq!(sync.rsync.short, b"lts");
    assert_eq!(sync.binary, "rsync");
    assert_eq!(config.daemon, crate::config::DaemonConfig::default());
}

#[test]
fn settings_are_gathered_from_calls_and_assignments() {
    let daemon = says(
        "settings{ logfile='log', 'nodaemon', statusInterval='3', maxProcesses=4 }
         settings{ statusFile='run/s', logfacility='daemon', logident='x', logFormat='json' }
         settings.onepass = 1
         assert(settings('statusInterval') == '3' and settings.onepass == 1)
         sync{ default.rsync, source='@/src', target='h:' }",
    )
    .daemon;
    assert_eq!(daemon.mode, RunMode::Foreground);
    assert!(daemon.logfile.unwrap().is_absolute());
    let status = daemon.status_file.unwrap();
    assert!(status.is_absolute() && status.ends_with("run/s"), "{}", status.display());
    assert_eq!(daemon.status_interval, Duration::from_secs(3));
    assert_eq!((daemon.log_facility, daemon.log_ident), ("daemon".into(), "x".into()));
    assert_eq!(daemon.log_format, crate::report::LogFormat::Json);
    assert_eq!((daemon.max_processes, daemon.onepass), (Some(4), true));
    assert_eq!(daemon.watch, WatchBackend::Auto);
}

#[test]
fn command_line_overrides_the_file() {
    let mut fixture = ConfigFixture::new(
        b"settings{ logfile='a', insist=false }
          sync{ default.rsync, source='@/src', target='h:', delay=5, maxDelete=false }",
    );
    fixture.request.overrides = Overrides {
        state_dir: Some("/s".into()),
        full: true,
        log_format: None,
        delay: Some(0.5),
        max_delete: Some(MaxDelete::Count(7)),
        insist: true,
        nodaemon: true,
        onepass: true,
        logfile: Some("/b".into()),
        pidfile: Some("/c".into()),
        watch: Some(WatchBackend::Inotify),
    };
    let Config { daemon, syncs, .. } = fixture.load().unwrap().config;
    assert_eq!(daemon.logfile, Some("/b".into()));
    assert_eq!(daemon.pidfile, Some("/c".into()));
    assert_eq!((daemon.state_dir, daemon.full), (Some("/s".into()), true));
    assert!(
        daemon.onepass
            && daemon.mode == RunMode::Foreground
            && daemon.watch == WatchBackend::Inotify
    );
    let delay = Duration::from_millis(500);
    assert_eq!(syncs[0].debounce, Debounce::FixedDelay { delay, max_waiting: DEFAULT_MAX_DELAYS });
    assert!(syncs[0].insist);
    assert_eq!(syncs[0].max_delete, MaxDelete::Count(7));
}

#[test]
fn explicit_key_wins_then_the_first_layer() {
    let target = |text: &str| {
        let config =
            says(&format!("{text} sync{{ {{target='h:c'}}, default.rsync, source='@/src' }}"));
        config.syncs[0].target.clone()
    };
    assert_eq!(target(""), "h:c/");
    assert_eq!(target("default.rsync.target = 'h:d'"), "h:c/");
    let config = says(
        "web = { default.rsync, rsync = { compress = true }, exclude = { 'a' } }
         sync{ web, source='@/src', target='h:1', exclude = { 'b' }, rsync = { links = false } }
         sync{ default.rsync, { rsync = { links = false } }, source='@/src', target='h:2' }
         sync{ { rsync = { links = false } }, default.rsync, source='@/src', target='h:3' }
         assert(#web.exclude == 1 and web.rsync.links == nil)",
    );
    let [one, two, three] = &*config.syncs else { panic!() };
    assert_eq!(one.rsync.short, b"tsz");
    assert_eq!(one.exclusions.excludes, [b"b".to_vec(), b"a".to_vec()]);
    assert_eq!((&*two.rsync.short, &*three.rsync.short), (&b"lts"[..], &b"ts"[..]));
    assert_eq!(three.name, "Sync3");
}

#[test]
fn merged_table_controls_merging() {
    let config = says(
        "local base = { rsync = { _merge = false, perms = true } }
         sync{ default.rsync, base, source='@/src', target='h:1' }
         local only = { _merge = { target = true }, target = 'h:2', delay = 5 }
         sync{ only, default.rsync, source='@/src' }",
    );
    assert_eq!(config.syncs[0].rsync.short, b"lts");
    assert_eq!(
        (&config.syncs[1].target, config.syncs[1].debounce),
        (&"h:2/".into(), Debounce::DEFAULT)
    );
}

#[test]
fn settings_apply_to_later_syncs() {
    let config = says(
        "sync{ default.rsync, source='@/src', target='h:1', delay=1, maxDelays=7 }
         settings{ maxDelays=3, maxProcesses=2 }
         sync{ default.rsync, source='@/src', target='h:2', delay=1, maxDelays=7 }
         sync{ default.rsyncssh, source='@/src', host='h', targetdir='3' }",
    );
    let delay = Duration::from_secs(1);
    assert_eq!(config.syncs[0].debounce, Debounce::FixedDelay { delay, max_waiting: 7 });
    assert_eq!(config.syncs[1].debounce, Debounce::FixedDelay { delay, max_waiting: 3 });
    let most: Vec<_> = config.syncs.iter().map(|sync| sync.max_processes).collect();
    assert_eq!(most, [1, 2, 1]);
}

#[test]
fn sync_with_a_defaults_prepare_can_use_its_functions() {
    let config = says(
        "sync{ checkgauge = { default.rsync.checkgauge }, prepare = default.rsync.prepare
             , action = function(inlet) default.rsync.action(inlet) end, source='@/src', target='h:1' }",
    );
    assert!(config.syncs[0].kind == SyncKind::Rsync && config.syncs[0].has_script());
}

#[test]
fn deletion_limits_are_shares_numbers_or_false() {
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
fn source_requirements_are_read_from_the_sync() {
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
        ("marker=''", "marker must be a single name in the source, not \"\""),
        ("marker='a/b'", "marker must be a single name in the source, not \"a/b\""),
        ("marker='..'", "marker must be a single name in the source, not \"..\""),
        ("modifyWindow=-1", "modifyWindow must be a number and >= 0"),
    ] {
        let text = format!("sync{{ default.rsync, source='@/src', target='h:', {text} }}");
        fails(&text, &format!("@/conf.lua:1: {why}"));
    }
}

#[test]
fn only_true_startup_and_running_delete() {
    for (text, policy) in [
        ("delete=true", DeletePolicy::Always),
        ("delete='startup'", DeletePolicy::Startup),
        ("delete='running'", DeletePolicy::Running),
        ("delete=false", DeletePolicy::Never),
        ("delete='false'", DeletePolicy::Never),
        ("delete=1", DeletePolicy::Never),
        // Without quotes it is nil, which counts as unset.
        ("delete=running", DeletePolicy::Always),
    ] {
        let sync = sync(text);
        assert_eq!((sync.delete, sync.rsync.delete), (policy, policy), "{text}");
    }
}

#[test]
fn rsyncssh_runs_rsync_over_ssh() {
    let config = says(
        "sync{ default.rsyncssh, source='@/src', host='h', targetdir='~/x',
               ssh = { port=2222, identityFile='/k' } }",
    );
    let sync = &config.syncs[0];
    assert_eq!((sync.kind, sync.target.to_str()), (SyncKind::Rsyncssh, Some("h:~/x/")));
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
fn user_exit_codes_replace_the_default() {
    let codes = sync("exitcodes = { [0]='ok', [1]='again', [13]='die' }").exit_codes;
    assert_eq!(codes.class(13), ExitClass::Fatal(FatalReason::User));
    assert_eq!(codes.class(1), ExitClass::Again);
    assert_eq!(sync("").exit_codes, mirror_core::plan::exit::ExitCodes::rsync());
    fails(
        "sync{ default.rsync, source='@/src', target='h:', exitcodes={[1]='maybe'} }",
        "@/conf.lua:1: exitcodes[1] must be \"ok\", \"again\" or \"die\", not \"maybe\"",
    );
}

#[test]
fn patterns_come_from_lists_and_files() {
    let fixture = ConfigFixture::new(
        b"sync{ default.rsync, source='@/src', target='h:', exclude={'a','*.o','a'}, excludeFrom='ex' }
          sync{ default.rsync, source='@/src', target='h:', exclude='.git', filter={'+ /x', ' -/y'}, filterFrom='fi' }
          sync{ default.rsync, source='@/src', target='h:', exclude={'#x', '- y'} }",
    );
    let start_dir = &fixture.request.start_dir;
    fs::write(start_dir.join("ex"), "# no\n; no\n\n  b c \r\n*.o\n").unwrap();
    fs::write(start_dir.join("fi"), "# no\n- z\n").unwrap();
    let config = fixture.load().unwrap().config;
    let texts = |texts: &[&str]| -> Vec<Vec<u8>> { texts.iter().map(|t| (*t).into()).collect() };
    let [one, two, three] = &*config.syncs else { panic!() };
    assert_eq!(one.rsync.rules, ExcludeRules::Excludes(texts(&["a", "*.o", "b c "])));
    assert_eq!(two.exclusions.filters, texts(&["+ /x", "-/y", "- z"]));
    assert_eq!(two.rsync.rules, ExcludeRules::Filters(texts(&["+ /x", "- /y", "- z", "- .git"])));
    let positions = fixture.load().unwrap().positions;
    let position = |sync, rule: &[u8]| {
        let found = positions.of_rule(sync, rule)?;
        Some(found.strip_prefix(start_dir.to_str().unwrap())?.to_owned())
    };
    assert_eq!(position("Sync1", b"- b  c ").as_deref(), None);
    assert_eq!(position("Sync1", b"- b c ").as_deref(), Some("/ex:4"));
    assert_eq!(position("Sync2", b"- z").as_deref(), Some("/fi:2"));
    // The configuration itself has these.
    assert_eq!((position("Sync1", b"- *.o"), position("Sync2", b"+ /x")), (None, None));
    // In a list of patterns these would be a comment and a rule.
    assert_eq!(three.rsync.rules, ExcludeRules::Filters(texts(&["- #x", "- y"])));
}

/// Removes the position, which must be the first line of the file, from each warning.
fn without_positions(warnings: Vec<String>) -> Vec<String> {
    let text = |warning: String| match warning.split_once("/conf.lua:1: ") {
        Some((_, text)) => text.to_owned(),
        None => panic!("no place: {warning}"),
    };
    warnings.into_iter().map(text).collect()
}

/// Loads a direct sync with this table `rsync`. Returns it with its warnings.
fn direct(rsync: &str) -> (crate::config::SyncConfig, Vec<String>) {
    let text =
        format!("sync{{ default.direct, source='@/src', target='/t', rsync = {{ {rsync} }} }}");
    let fixture = ConfigFixture::new(text.as_bytes());
    fs::write(fixture.request.start_dir.join("ex"), "# no\nfrom-file\n").unwrap();
    let Loaded { mut config, warnings, .. } =
        fixture.load().unwrap_or_else(|why| panic!("{why:?}"));
    (config.syncs.remove(0), without_positions(warnings))
}

#[test]
fn direct_applies_extra_rules_first() {
    let (sync, warnings) = direct(
        "_extra = { '--include=/keep.o', '--exclude', '*.o', '-f- precious', '--exclude-from=ex' }",
    );
    assert_eq!(warnings, [""; 0]);
    for (name, is_excluded) in
        [("keep.o", false), ("a.o", true), ("precious", true), ("from-file", true), ("x", false)]
    {
        let path = mirror_core::path::TreePath::new(name.as_bytes()).unwrap();
        let kind = mirror_core::fs_event::EntryKind::Other;
        assert_eq!(sync.filter.excludes(&path, kind), is_excluded, "{name}");
        assert_eq!(sync.filter.protects(&path, kind), is_excluded, "{name}");
    }
}

/// rsync does not apply them to the parent directories of the names in a list.
#[test]
fn batches_of_rsync_respect_extra_rules() {
    let text = "sync{ default.rsync, source='@/src', target='/t', exclude = { 'own' }, rsync = {
        _extra = { '--max-size=?', '--include=/keep/', '--exclude', '/*/', '-f- secret',
            '--exclude-from=ex', '--exclude-from=missing' } } }";
    let fixture = ConfigFixture::new(text.as_bytes());
    fs::write(fixture.request.start_dir.join("ex"), "# no\nfrom-file\n").unwrap();
    let sync = fixture.load().unwrap().config.syncs.remove(0);
    for (name, is_excluded) in [
        ("dir/inner", true),
        ("keep/inner", false),
        ("keep/secret/inner", true),
        ("from-file/x", true),
        ("own", true),
        ("x", false),
    ] {
        let path = mirror_core::path::TreePath::new(name.as_bytes()).unwrap();
        let kind = mirror_core::fs_event::EntryKind::Other;
        assert_eq!(sync.filter.excludes(&path, kind), is_excluded, "{name}");
    }
    // rsync gets them as they are.
    let own = mirror_core::plan::options::ExcludeRules::Excludes(vec![b"own".to_vec()]);
    assert_eq!(sync.rsync.rules, own);
}

#[test]
fn direct_warns_of_ignored_options_and_refuses_protective_ones() {
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
        "default.direct does not support rsync.dry_run, \"--safe-links\" in rsync._extra, and files \
         of the target could be lost without it: use default.rsync, or remove it",
    );
    refused(
        "_extra = { '-f: .rules' }",
        "default.direct does not support the filter rule \": .rules\": use default.rsync, or write \
         its patterns here",
    );
    refused(
        "_extra = { '--max-size=x' }",
        "\"--max-size=x\" in rsync._extra does not accept the value \"x\"",
    );
}

#[test]
fn per_directory_rules_are_refused() {
    for (more, dir) in [
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
                "{dir}, whose per-directory files would apply to full transfers only: write the \
                 patterns into exclude, excludeFrom or filter"
            );
            fails(&text, &format!("@/conf.lua:2: {why}"));
        }
    }
}

#[test]
fn original_errors_are_kept_verbatim() {
    let a = "default.rsync, source='@/src', target='h:'";
    refused("sync{default.rsync, target='x'}", &["@/conf.lua:1: source missing from sync."]);
    refused(
        "sync{default.rsync, source='no', target='x'}",
        &[
            "failure getting absolute path of [no]",
            "Cannot access source directory: no",
            "@/conf.lua:1: the source cannot be used",
        ],
    );
    refused(&format!("sync{{{a}, action=false}}"), &["@/conf.lua:1: no actions specified."]);
    refused("x = = 1", &["error loading @/conf.lua: @/conf.lua:1: unexpected symbol near '='"]);
    fails("\nerror('boom')", "@/conf.lua:2: boom");
    fails("settings{foo=1}", "@/conf.lua:1: setting \"foo\" unknown.");
    let unknown = ('a'..='p').map(|name| format!("{name}{name}=1,")).collect::<Vec<_>>().concat();
    let prefix = "error preparing @/conf.lua: @/conf.lua:1:";
    let line = |name| format!("{prefix} setting \"{name}{name}\" unknown.");
    let lines: Vec<_> = ('a'..='p').map(line).collect();
    refused(
        &format!("settings{{{unknown}}}"),
        &lines.iter().map(|line| &**line).collect::<Vec<_>>(),
    );
    fails("settings{'foo'}", "@/conf.lua:1: setting \"foo\" unknown.");
    fails(
        &format!("sync{{{a}, rsync={{foo=1}}}}"),
        "@/conf.lua:1: Parameter \"rsync.foo\" unknown. ( if this is not a typo add it to \
         checkgauge ) Hint: write other options as arguments of rsync: _extra = { \"--NAME=VALUE\" \
         }.",
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
            "@/conf.lua:1: excludeFrom cannot be used",
        ],
    );
}

#[test]
fn an_endless_exclude_file_is_refused() {
    refused(
        "sync{default.rsync, source='@/src', target='h:', excludeFrom='/dev/zero'}",
        &[
            "Cannot open exclude file \"/dev/zero\": /dev/zero: not a regular file",
            "@/conf.lua:1: excludeFrom cannot be used",
        ],
    );
}

#[test]
fn nested_tables_that_never_end_are_refused() {
    let a = "default.rsync, source='@/src', target='h:'";
    fails(
        "local t = { default.rsync, source='@/src', target='h:' }\nt.rsync = { _extra = t }\nsync(t)",
        "@/conf.lua:3: a table contains itself",
    );
    fails("local t = {}\nt[1] = { t }\nsync{ t }", "@/conf.lua:3: a table contains itself");
    fails(
        &format!("sync{{\n{a}, sync{{{a}}} }}"),
        "@/conf.lua:1: a sync{} stands in another sync{}",
    );
    fails(
        "settings{ sync }",
        "@/conf.lua:1: settings takes names, not a function: settings{ logfile = .. }",
    );
}

#[test]
fn caught_errors_still_refuse_the_file() {
    refused("pcall(sync, {default.rsync, target='x'})", &["source missing from sync."]);
}

#[test]
fn old_and_misspelled_names_get_a_hint() {
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
fn custom_checkgauge_allows_names() {
    sync("checkgauge = { default.rsync.checkgauge, mine = true }, mine = 5");
    sync("checkgauge = false, mine = 5");
    sync("prepare = function(config, level) default.rsync.prepare(config, level + 6) end");
}

#[test]
fn single_functions_of_a_default_can_be_reused() {
    let config = says(
        "sync{ action = default.rsync.action, prepare = default.rsync.prepare, init = default.init,
               checkgauge = default.rsync.checkgauge, source='@/src', target='h:x',
               rsync = { binary = '/usr/bin/rsync', times = true } }",
    );
    assert_eq!(config.syncs[0].rsync.short, b"t");
    assert_eq!(
        (config.syncs[0].kind, &*config.syncs[0].binary),
        (SyncKind::Rsync, "/usr/bin/rsync".as_ref())
    );
}

#[test]
fn functions_decide_about_full_transfers() {
    for (text, full) in [
        ("full=function() end", FullHandling::Function),
        ("onFull=function() end", FullHandling::Action),
        ("action=function() end", FullHandling::Action),
        ("onFull='echo', onCreate='echo'", FullHandling::Ignored),
        ("onStartup='echo'", FullHandling::Ignored),
    ] {
        let config = says(&format!("sync{{source='@/src', {text}}}"));
        let script = config.syncs[0].script.as_ref();
        assert_eq!(script.map(|it| it.full), Some(full), "{text}");
    }
}

#[test]
fn own_functions_make_a_scripted_sync() {
    for text in ["init = function() end", "collect = function() end", "action = function() end"] {
        let config = says(&format!("sync{{default.rsync, source='@/src', target='h:', {text}}}"));
        let sync = &config.syncs[0];
        let script = sync.script.as_ref().map(|it| (it.number, it.wants_renames, it.full));
        let expected = (1, false, FullHandling::Function);
        assert_eq!((sync.kind, script), (SyncKind::Rsync, Some(expected)), "{text}");
        assert!(
            sync.script.as_ref().is_some_and(|script| script.restart_mode == RestartMode::Clear),
            "{text}"
        );
    }
    for (text, restart_mode) in [
        ("onStartup='echo'", RestartMode::Clear),
        ("onCreate='echo'", RestartMode::Keep),
        ("onStartup='echo', init=false", RestartMode::Keep),
    ] {
        let config = says(&format!("sync{{source='@/src', {text}}}"));
        assert_eq!(
            config.syncs[0].script.as_ref().map(|it| it.restart_mode),
            Some(restart_mode),
            "{text}"
        );
    }
    for (mode, writes) in [
        ("", WriteDetection::OnClose),
        ("Modify", WriteDetection::OnModify),
        ("CloseWrite or Modify", WriteDetection::Both),
    ] {
        let config = says(&format!(
            "settings{{inotifyMode='{mode}'}} sync{{source='@/src', onCreate='echo'}}"
        ));
        assert_eq!(config.syncs[0].script.as_ref().map(|script| script.writes), Some(writes));
    }
    let config = says("sync{source='@/src', onCreate='echo', onMove='mv', delay=2, subdirs=false}");
    let script = config.syncs[0].script.clone().unwrap();
    assert_eq!(config.syncs[0].kind, SyncKind::Script);
    assert!(script.wants_renames && !script.subdirectories);
    assert_eq!(script.full, FullHandling::Ignored);
    assert_eq!(script.delay, Duration::from_secs(2));
    // A script of its own may use these names in any way.
    says(
        "sync{source='@/src', onCreate='echo', target={1}, rsync=1, exitcodes={[0]='fine'}, checkgauge=false}",
    );
    // The function that ends every sync has no effect.
    says(
        "sync{{action=default.rsync.action, init=default.rsync.init}, source='@/src', target='h:'}",
    );
    sync("init = true");
    assert!(!sync("init = false").init);
}

#[test]
fn bom_shebang_and_crlf_are_accepted() {
    for start in
        [&b"#!/usr/bin/lsyncd\n"[..], b"\xef\xbb\xbf", b"\xef\xbb\xbf# x\n", b"-- caf\xe9\r\n"]
    {
        let text = [start, b"sync{default.rsync, source='@/src', target='h:'}\r\n"].concat();
        assert_eq!(ConfigFixture::new(&text).load().unwrap().config.syncs.len(), 1, "{start:?}");
    }
    // The skipped line is counted.
    refused(
        "# x\nx = = 1",
        &["error loading @/conf.lua: @/conf.lua:2: unexpected symbol near '='"],
    );
}

#[test]
fn file_can_find_its_path_and_include_others() {
    let fixture = ConfigFixture::new(
        b"local me = debug.getinfo(1).source
          assert(me == '@@/conf.lua', me)
          assert(debug.getinfo(1).currentline == 3)
          dofile('@/more.lua')
          for name, is_dir in pairs(readdir('@')) do
              if is_dir then sync{ default.rsync, source='@/' .. name, target='h:' .. name } end
          end
          assert(string.starts('abc', 'ab') and string.ends('abc', 'bc') and table.contains({1}, 1))"
    );
    fs::write(fixture.request.start_dir.join("more.lua"), "more = 1").unwrap();
    // The first `@` is part of Lua's notation.
    let file = fixture.request.file.as_ref().unwrap();
    let text = fs::read_to_string(file).unwrap();
    let start_dir = fixture.request.start_dir.to_str().unwrap();
    fs::write(
        file,
        text.replace(&format!("{start_dir}{start_dir}/conf"), &format!("@{start_dir}/conf")),
    )
    .unwrap();
    assert_eq!(fixture.load().unwrap().config.syncs.len(), 1);
}

#[test]
fn os_exit_ends_the_program() {
    for (text, code) in
        [("os.exit(3)", 3), ("os.exit(true)", 0), ("pcall(os.exit, 300)", 44), ("terminate(2)", 2)]
    {
        assert_eq!(
            ConfigFixture::new(text.as_bytes()).load().err(),
            Some(ConfigError::Exit(code)),
            "{text}"
        );
    }
}

#[test]
fn check_has_no_side_effects() {
    let mut fixture = ConfigFixture::new(
        b"os.execute('touch @/touched')
          os.remove('@/conf.lua')
          os.rename('@/conf.lua', '@/x')
          local file = io.open('@/written', 'w') file:write('x') file:close()
          local names = io.popen('echo src'):read()
          sync{ default.rsync, source='@/' .. names, target='h:t' }",
    );
    fixture.request.purpose = LoadPurpose::Check;
    let loaded = fixture.load().unwrap();
    assert_eq!(loaded.config.syncs.len(), 1);
    assert_eq!(loaded.warnings.len(), 4, "{:?}", loaded.warnings);
    assert!(loaded.warnings[0].starts_with("not executed by -check: os.execute(\"touch "));
    let mut names: Vec<_> =
        fs::read_dir(fixture.dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["conf.lua", "src"]);
}

#[test]
fn globals_are_sealed_after_loading() {
    let lua = Lua::new();
    let fixture = ConfigFixture::new(b"");
    let host = PreludeHost::new(Log::default(), fixture.request.start_dir.clone());
    let table = host.table(&lua, None).unwrap();
    let prelude = run_prelude(&lua, &table, &Scripts::new(&lua).unwrap()).unwrap();
    lua.load("known = 1").exec().unwrap();
    prelude.get::<Function>("seal").unwrap().call::<()>(()).unwrap();
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
        assert_eq!(error::lua_message(&error), format!("x:1: {why}"));
    }
}

#[test]
fn two_loads_are_equal() {
    let fixture = ConfigFixture::new(
        b"sync{ default.rsync, source='@/src', target='h:', exclude={'a','b','c'}, rsync={archive=true, compress=true} }
          sync{ default.rsyncssh, source='@/src', host='h', targetdir='x', ssh={options={A=1,B=2,C=3,D=4}} }",
    );
    let config = || fixture.load().unwrap().config;
    assert_eq!(config(), config());
}

#[test]
fn inlet_can_change_the_exclusions() {
    let config = says(
        "local s = sync{ default.rsync, source='@/src', target='h:', exclude={'a','b'} }
         s.rmExclude('a')
         s.addExclude('c')
         assert(#s.getExcludes() == 2 and s.getConfig().target == 'h:')",
    );
    assert_eq!(config.syncs[0].exclusions.excludes, [b"b".to_vec(), b"c".to_vec()]);
}

#[test]
fn original_and_new_settings_are_accepted() {
    let mine = sync("name = 'web', listForm = 'filter'");
    assert_eq!(mine.name, "web");
    assert_eq!(mine.rsync.form, mirror_core::plan::options::ListForm::Filter);
    let daemon = says(
        "settings{ statusIntervall = 4, watch = 'inotify' }
         sync{ default.rsync, source='@/src', target='h:' }",
    )
    .daemon;
    assert_eq!(daemon.status_interval, Duration::from_secs(4));
    assert_eq!(daemon.watch, WatchBackend::Inotify);
}

/// A file with many errors.
const WRONG: &str = "settings{
            logfile = {},
            statusIntervall = 'often',
            maxProcesses = 'many', maxDelays = 'lots',
            inotifyMode = 'Foo',
            watch = 'dnotify', logFormat = 'xml',
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
fn all_setting_errors_are_reported_with_their_lines() {
    let expected = [
        (2, "logfile must be a string, not a table"),
        (3, "statusInterval must be a number and >= 0"),
        (8, "logident must be a string, not a table"),
        (4, "maxDelays must be a number"),
        (6, "logFormat must be text or json, not 'xml'"),
        (4, "maxProcesses must be a number"),
        (6, "watch must be auto, inotify or fanotify, not 'dnotify'"),
        (0, "'Foo' not a valid inotfiyMode."),
        (5, "inotifyMode cannot be used"),
        (11, "mode must be \"command\" or \"pool\", not \"y\""),
        (13, "tunnel.retryDelay must be a number and >= 0"),
        (18, "rsync.bwlimit must be a string, not a table"),
        (15, "delay must be a number and >= 0"),
        (16, "maxDelete must be a share such as \"50%\", a number, or false, not \"y\""),
        (23, "Sync: Sync2 - crontab rule 1 is not valid: "),
        (25, "replacedSource must be \"wait\", \"accept\" or \"budget\", not \"yes\""),
        (24, "marker must be a string, not a table"),
    ];
    let lines = ConfigFixture::new(WRONG.as_bytes()).error_lines();
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, (number, why)) in lines.iter().zip(expected) {
        let line = line.strip_prefix("error preparing @/conf.lua: ").unwrap_or(line);
        let start = if number == 0 { why.into() } else { format!("@/conf.lua:{number}: {why}") };
        assert!(line.starts_with(&start), "{line} is not {start}");
    }
}

#[test]
fn invalid_target_is_reported_once() {
    fails(
        "sync{ default.rsync, source='@/src', target={'h:', 'i:'} }",
        "@/conf.lua:1: target must be a string, not a table",
    );
}

#[test]
fn idle_scripts_and_non_functions_cause_warnings() {
    let warnings = |rest: &str| {
        let fixture = ConfigFixture::new(
            format!("sync{{ source='@/src',\n target='x', {rest} }}").as_bytes(),
        );
        let start_dir = fixture.request.start_dir.to_str().unwrap();
        fixture
            .load()
            .unwrap()
            .warnings
            .iter()
            .map(|it| it.replace(start_dir, "@"))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        warnings(""),
        ["@/conf.lua:1: Sync1: source is watched without an action: write default.rsync, \
          default.rsyncssh or default.direct first, or functions such as onCreate"]
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
fn text_exit_codes_cause_warnings() {
    let text = "sync{ default.rsync, source='@/src', target='/t',
        exitcodes = { [0] = 'ok', ['23'] = 'again', foo = 'die' } }";
    let fixture = ConfigFixture::new(text.as_bytes());
    let start_dir = fixture.request.start_dir.to_str().unwrap();
    let warnings = fixture.load().unwrap().warnings.concat().replace(start_dir, "@");
    for says in [
        "@/conf.lua:2: Sync1: exitcodes has the key \"23\", which is not a number and has no \
         effect: write [23]",
        "the key \"foo\"",
    ] {
        assert!(warnings.contains(says), "{warnings}");
    }
}

#[test]
fn switches_that_look_off_cause_warnings_with_lines() {
    let text = "settings{ insist = true,
            nodaemon = 'no' }
        sync{ default.rsync, source='@/src', target='/t',
            init = 'false',
            rsync = { archive = true,
                perms = 0 } }
        sync{ source='@/src', onMove = 'false', onCreate = 'true', subdirs = 'off' }";
    let fixture = ConfigFixture::new(text.as_bytes());
    let warnings = fixture.load().unwrap().warnings;
    let start_dir = fixture.request.start_dir.to_str().unwrap();
    let starts: Vec<_> = warnings
        .iter()
        .map(|warning| warning.replace(start_dir, "@").split_once(" is on").unwrap().0.to_owned())
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
fn settings_are_validated_while_loading() {
    let a = "default.rsync, source='@/src', target='h:'";
    for mode in ["CloseWrite", "Modify", "CloseWrite or Modify", ""] {
        says(&format!("settings{{ inotifyMode = '{mode}' }} sync{{ {a} }}"));
    }
    refused(
        &format!("settings{{ inotifyMode = 'Foo' }} sync{{ {a} }}"),
        &["'Foo' not a valid inotfiyMode.", "@/conf.lua:1: inotifyMode cannot be used"],
    );
    for (value, why) in [
        ("'foo'", "Logging facility 'foo' unknown."),
        ("3", "Logging facility '3' unknown."),
        ("{}", "Logging facility must be a number or string"),
    ] {
        refused(
            &format!("settings{{ logfacility = {value} }} sync{{ {a} }}"),
            &[why, "@/conf.lua:1: logfacility cannot be used"],
        );
    }
    let few = sync("maxProcesses = 0, maxDelays = 0.5, delay = 1");
    let delay = Duration::from_secs(1);
    assert_eq!(
        (few.max_processes, few.debounce),
        (1, Debounce::FixedDelay { delay, max_waiting: 1 })
    );
    let few =
        says(&format!("settings{{ maxProcesses = 0, maxDelays = -1 }} sync{{ {a}, delay = 1 }}"));
    assert_eq!(few.daemon.max_processes, Some(1));
    assert_eq!(few.syncs[0].debounce, Debounce::FixedDelay { delay, max_waiting: 1 });
    assert_eq!(says(&format!("sync{{ {a}, maxProcesses = 4 }}")).syncs[0].max_processes, 4);
    fails(
        &format!("sync{{ {a}, listForm = 'x' }}"),
        "@/conf.lua:1: listForm must be \"files-from\" or \"filter\", not \"x\"",
    );
}

#[test]
fn doubtful_values_cause_warnings() {
    let warnings = |text: &str| {
        let text = format!("sync{{ default.rsync, source='@/src', target='h:t', {text} }}");
        without_positions(ConfigFixture::new(text.as_bytes()).load().unwrap().warnings)
    };
    assert_eq!(warnings(""), [""; 0]);
    assert_eq!(
        warnings("rsync = { _extra = '--bwlimit=1' }"),
        ["Sync1: rsync._extra is ignored: it must be a list, _extra = { \"..\" }"]
    );
    for value in ["'false'", "1", "'never'"] {
        let found = warnings(&format!("delete = {value}"));
        assert!(found.len() == 1 && found[0].contains("deletes nothing"), "{found:?}");
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
        let warnings =
            without_positions(ConfigFixture::new(text.as_bytes()).load().unwrap().warnings);
        assert!(
            warnings.len() == 1 && warnings[0].contains("cannot find /nonexistent/x"),
            "{warnings:?}"
        );
    }
    for (binary, count) in [("/opt/rsync", 0), ("/opt/wrapper", 1)] {
        let found = warnings(&format!("rsync = {{ binary = '{binary}' }}"));
        assert_eq!(found.len(), count, "{found:?}");
        let silenced = warnings(&format!("rsync = {{ binary = '{binary}' }}, listForm = 'filter'"));
        assert_eq!(silenced, [""; 0]);
    }
    // The last occurrence of a repeated key counts.
    let relative = warnings("target = 'here'");
    assert!(relative[0].starts_with("Sync1: the target 'here/' is relative"), "{relative:?}");
}

#[test]
fn undefined_global_causes_a_warning_with_its_line() {
    let warnings = |text: &str| {
        let text = format!("{text}\nsync{{ default.rsync, source='@/src', target='h:t' }}");
        let fixture = ConfigFixture::new(text.as_bytes());
        fs::write(fixture.request.start_dir.join("probing.lua"), "return jit2 or nope").unwrap();
        let start_dir = fixture.request.start_dir.to_str().unwrap().to_owned();
        let warnings = fixture.load().unwrap().warnings;
        warnings.iter().map(|line| line.replace(&start_dir, "@")).collect::<Vec<_>>()
    };
    assert_eq!(
        warnings("local x = 1\nlocal y = { delete = running }"),
        ["@/conf.lua:2: the global running is undefined, so this is nil; if a string is meant, \
          write \"running\""]
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
fn all_errors_are_reported_at_once_with_their_lines() {
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
            "@/conf.lua:15: the source cannot be used",
            "error preparing @/conf.lua: @/conf.lua:10: maxDelete must be a share such as \"50%\", a \
             number, or false, not \"x\"",
            "error preparing @/conf.lua: @/conf.lua:20: delay must be a number and >= 0",
            "error preparing @/conf.lua: @/conf.lua:21: maxDelete must be a share such as \"50%\", a \
             number, or false, not \"y\"",
        ],
    );
}

#[test]
fn misplaced_names_get_a_hint() {
    let a = "default.rsync, source='@/src', target='h:t'";
    let unknown = |name: &str, more: &str| {
        format!(
            "@/conf.lua:1: Parameter \"{name}\" unknown. ( if this is not a typo add it to \
             checkgauge ){more}"
        )
    };
    fails(
        &format!("sync{{ {a}, insist = true }}"),
        &unknown("insist", " It belongs in settings{ .. }."),
    );
    fails(
        &format!("sync{{ {a}, compress = true }}"),
        &unknown("compress", " It belongs in rsync = { .. }."),
    );
    let Err(ConfigError::Invalid(lines)) =
        ConfigFixture::new(b"sync{ source='@/src', onCreate='true', rsyncOpts = '-a' }").load()
    else {
        panic!("it is taken")
    };
    assert!(lines[0].contains("checkgauge = { default.checkgauge, NAME = true }"), "{lines:?}");
    let lets_pass =
        "checkgauge = { default.checkgauge, rsyncOpts = true }, rsyncOpts = '-a', rsync = {}";
    let Err(ConfigError::Invalid(lines)) = ConfigFixture::new(
        format!("sync{{ source='@/src', onCreate='true', {lets_pass} }}").as_bytes(),
    )
    .load() else {
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
fn defaults_expose_original_values_without_inheritance() {
    says(
        "assert(default.rsync.delay == 15 and default.rsyncssh.delay == 15)
         assert(default.direct.delay == 1 and default.direct.maxProcesses == 1)
         assert(default.rsyncssh.maxProcesses == 1 and default.statusInterval == 10)
         assert(default.rsyncExitCodes[12] == 'again' and default.sshExitCodes[255] == 'again')
         assert(type(default.rsyncssh.ssh._extra) == 'table' and default.delay == nil)
         sync{ default.rsync, source='@/src', target='h:t' }",
    );
    assert_eq!(sync("").debounce, Debounce::DEFAULT);
    let delay = Duration::from_secs(3);
    let config =
        says("default.rsync.delay = 3 sync{ default.rsync, source='@/src', target='h:t' }");
    assert_eq!(
        config.syncs[0].debounce,
        Debounce::FixedDelay { delay, max_waiting: DEFAULT_MAX_DELAYS }
    );
}

#[test]
fn older_lua_functions_are_available() {
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
fn user_module_takes_precedence() {
    let text = "package.path = '@/?.lua;' .. package.path socket = require 'socket'
                assert(socket.mine == MINE) assert(MINE or socket.dns.toip('127.0.0.1') == '127.0.0.1')
                assert(MINE or select(2, socket.dns.toip('no-such-host.invalid')) == 'host not found')
                sync{ default.rsync, source='@/src', target='h:t' }";
    says(&format!("MINE = nil {text}"));
    for (module, mine) in [("return { mine = 1 }", "1"), ("return require 'socket.core'", "nil")] {
        let fixture = ConfigFixture::new(format!("MINE = {mine} {text}").as_bytes());
        fs::write(fixture.request.start_dir.join("socket.lua"), module).unwrap();
        fixture.load().unwrap_or_else(|why| panic!("{module}: {why:?}"));
    }
}

#[test]
fn remove_source_files_with_delete_is_refused() {
    let text = |more: &str| {
        format!(
            "sync{{ default.rsync, source='@/src', target='/t', {more} \
             rsync = {{ _extra = {{ '--remove-source-files' }} }} }}"
        )
    };
    let Err(ConfigError::Invalid(lines)) = ConfigFixture::new(text("").as_bytes()).load() else {
        panic!("it is taken")
    };
    assert!(lines[0].contains("has --remove-source-files while delete is on"), "{lines:?}");
    says(&text("delete = false,"));
    for word in ["--delete", "--del", "--delete-after", "--delete-excluded"] {
        let text = text("delete = false,").replace("files'", &format!("files', '{word}'"));
        assert!(ConfigFixture::new(text.as_bytes()).load().is_err(), "{word}");
    }
}

#[test]
fn any_rule_can_exclude_a_target_in_its_source() {
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
        let Err(ConfigError::Invalid(lines)) = ConfigFixture::new(text(base, "").as_bytes()).load()
        else {
            panic!("it is taken")
        };
        assert!(lines[0].contains("is inside its source"), "{lines:?}");
    }
    // A script may use its target in any way.
    says(&text("default.rsync", "action = function() end"));
    says("sync{ source='@/src', target='@/src/x', onCreate='true' }");
}

#[test]
fn crontab_rules_are_checked_one_by_one() {
    assert_eq!(sync("crontab = { '0 30 4 * * *', '0 0 */2 1 JAN *' }").crontab.len(), 2);
    let text = "sync{ default.rsync, source='@/src', target='h:', crontab={'* * * * * *', '* *'} }";
    let lines = ConfigFixture::new(text.as_bytes()).error_lines();
    let start =
        "error preparing @/conf.lua: @/conf.lua:1: Sync: Sync1 - crontab rule 2 is not valid: ";
    assert!(lines[0].starts_with(start) && lines[0].ends_with(" . Rule: * *"), "{lines:?}");
}
