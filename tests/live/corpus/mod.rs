//! Realistic configuration files in `tests/configs`: each is checked by `-check`, and run if its
//! targets are local.
//!
//! Comments in the file itself define the expectations; see [`header`].

mod case;
mod header;

use std::{collections::BTreeSet, fs, path::Path};

/// The directory of the files.
const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/configs");

macro_rules! configs {
    ($($name:ident),+ $(,)?) => {
        const NAMES: &[&str] = &[$(stringify!($name)),+];
        $(
            #[test]
            fn $name() {
                case::run(stringify!($name));
            }
        )+
    };
}

configs!(
    bandwidth_and_timeout,
    batch_size_limit,
    byte_order_mark,
    config_directory_by_popen,
    config_directory_by_readdir,
    conflicting_rsync_options,
    crlf_line_ends,
    crontab,
    custom_checkgauge,
    custom_exit_codes,
    custom_prepare,
    defaults_read_by_a_script,
    delete_budgets_and_marker,
    delete_modes,
    direct_and_rsync,
    direct_local,
    duplicate_keys,
    exclude_string,
    excludes_from_file,
    excludes_with_crlf,
    filters_before_excludes,
    fractional_delay,
    functions_of_a_default,
    helper_functions,
    init_false,
    init_true,
    inlet_used_after_sync,
    inline_layers,
    latin1_in_comments,
    limits_below_one,
    log_in_the_source,
    lua_5_1_functions,
    metatable_inheritance,
    mirror_chain,
    missing_program,
    modified_defaults,
    mutual_mirrors,
    named_syncs,
    nested_targets,
    no_short_options,
    non_boolean_switches,
    numeric_chmod,
    numeric_strings,
    one_source_many_targets,
    onepass,
    paths_from_environment,
    paths_in_utf8,
    patterns_that_never_match,
    refused_crontab_rule,
    refused_custom_error,
    refused_delay_in_settings,
    refused_delay_not_a_number,
    refused_delete_in_rsync,
    refused_direct_handler,
    refused_direct_to_remote_target,
    refused_empty_target,
    refused_empty_targetdir,
    refused_exit_code_class,
    refused_facility,
    refused_inotify_mode,
    refused_invalid_filter,
    refused_log_in_settings,
    refused_missing_exclude_file,
    refused_missing_file,
    refused_missing_module,
    refused_missing_source,
    refused_mistyped_rsync_key,
    refused_mistyped_setting,
    refused_no_source,
    refused_no_target,
    refused_no_targetdir,
    refused_nothing_to_watch,
    refused_obsolete_setting,
    refused_os_exit,
    refused_remote_root,
    refused_remove_source_files,
    refused_rsync_host,
    refused_rsync_ops,
    refused_rsync_options_for_direct,
    refused_rsync_opts,
    refused_rsync_string,
    refused_rsyncssh_max_processes,
    refused_rsyncssh_target,
    refused_runtime_error,
    refused_settings_assignment,
    refused_source_inside_target,
    refused_ssh_in_rsync,
    refused_syntax_error,
    refused_target_inside_source,
    refused_unclosed_parenthesis,
    refused_unknown_default,
    refused_with_several_errors,
    relative_source,
    relative_target,
    relative_target_of_daemon,
    remote_target_without_delay,
    root_as_source_with_few_includes,
    rsync_backups,
    rsync_daemon_modules,
    rsync_extra_list,
    rsync_extra_string,
    rsync_options_for_direct,
    rsync_wrapper,
    rsync_wrapper_with_filter_lists,
    rsyncssh_all_options,
    rsyncssh_home_target,
    rsyncssh_on_move,
    settings_forms,
    shared_target,
    shebang_line,
    side_effects_at_load,
    simple_local,
    ssh_and_local,
    ssh_options_as_a_list,
    ssh_options_in_rsh,
    ssh_plain,
    syncs_by_directory_walk,
    syslog_settings,
    target_inside_source_by_exclude,
    target_inside_source_by_includes,
    two_defaults_in_one_sync,
    undefined_globals,
    unquoted_strings,
    web_cluster,
);

#[test]
fn every_file_has_a_test() {
    let files = fs::read_dir(DIRECTORY).unwrap().filter_map(|entry| {
        let path = entry.unwrap().path();
        let is_config = path.extension().is_some_and(|extension| extension == "lua");
        is_config.then(|| path.file_stem().unwrap().to_str().unwrap().to_owned())
    });
    let files: BTreeSet<String> = files.collect();
    let tests: BTreeSet<String> = NAMES.iter().map(|&name| name.into()).collect();
    assert_eq!(files, tests);
    assert!(Path::new(DIRECTORY).join("conf.d").is_dir());
}
