//! Configuration files as people have them, in `tests/configs`: each is looked at by `-check`, and
//! run if its targets are on this machine.
//!
//! What is expected stands in comments in the file itself; see [`header`].

mod case;
mod header;

use std::{collections::BTreeSet, fs, path::Path};

/// Where the files are.
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
    a_chain_of_mirrors,
    all_of_a_machine_but_little,
    anonymous_tables_in_place,
    backup_inside_by_filter,
    backup_inside_its_source,
    backups_on_the_target,
    bandwidth_and_timeout,
    budgets_and_markers,
    byte_order_mark,
    chmod_as_a_number,
    conf_d_by_popen,
    conf_d_by_readdir,
    defaults_changed_for_all,
    defaults_read_by_a_script,
    direct_and_rsync,
    direct_local,
    exclude_as_one_text,
    excludes_from_file,
    excludes_with_windows_line_ends,
    exit_codes_of_its_own,
    extra_words_as_one_text,
    extra_words_for_rsync,
    filters_before_excludes,
    first_line_for_a_shell,
    fractional_delay,
    functions_out_of_a_default,
    gauge_of_its_own,
    helper_functions,
    homes_by_a_walk,
    hook_wrapper,
    hook_wrapper_with_filter_lists,
    init_is_true,
    inlet_is_used_later,
    keys_written_twice,
    large_files_last,
    latin1_in_comments,
    limits_below_one,
    log_in_the_source,
    lua_of_old,
    marks_in_the_system_log,
    names_that_are_nothing,
    nightly_full_transfer,
    no_delay_to_another_machine,
    no_first_transfer,
    no_short_words,
    numbers_as_texts,
    one_pass,
    one_source_many_targets,
    paths_from_environment,
    paths_in_utf8,
    patterns_that_never_match,
    prepare_of_its_own,
    program_that_is_missing,
    refused_class_of_an_exit_code,
    refused_crontab_rule,
    refused_delay_in_settings,
    refused_delay_that_is_no_number,
    refused_delete_in_rsync,
    refused_direct_to_another_machine,
    refused_empty_target,
    refused_empty_targetdir,
    refused_error_of_its_own,
    refused_excludes_that_are_missing,
    refused_facility,
    refused_file_that_ends_the_program,
    refused_file_that_is_missing,
    refused_filter_that_is_none,
    refused_for_many_reasons,
    refused_handler_of_direct,
    refused_host_of_rsync,
    refused_inotify_mode,
    refused_log_in_settings,
    refused_mistyped_setting,
    refused_mistyped_word_of_rsync,
    refused_module_that_is_missing,
    refused_nothing_to_watch,
    refused_parenthesis_left_open,
    refused_removal_of_sources,
    refused_root_of_another_machine,
    refused_rsync_ops,
    refused_rsync_opts,
    refused_runtime_error,
    refused_setting_of_old,
    refused_settings_with_an_equals_sign,
    refused_source_in_its_target,
    refused_source_not_named,
    refused_source_that_is_missing,
    refused_ssh_in_rsync,
    refused_ssh_with_many_processes,
    refused_syntax_error,
    refused_target_in_its_source,
    refused_target_not_named,
    refused_target_of_ssh,
    refused_targetdir_not_named,
    refused_unknown_default,
    refused_words_of_rsync_as_a_text,
    refused_words_of_rsync_for_direct,
    relative_source,
    relative_target,
    relative_target_of_a_daemon,
    rsync_daemon_modules,
    settings_in_many_ways,
    simple_local,
    ssh_and_local,
    ssh_options_as_a_list,
    ssh_options_by_rsh,
    ssh_plain,
    ssh_to_a_home,
    ssh_with_all_options,
    ssh_with_on_move,
    switches_that_are_no_booleans,
    syncs_with_names,
    table_that_inherits,
    target_in_the_target_of_another,
    texts_without_quotes,
    two_defaults_in_one_sync,
    two_that_mirror_each_other,
    two_with_the_same_target,
    ways_to_delete,
    web_cluster,
    windows_line_ends,
    words_of_rsync_for_direct,
    words_of_rsync_that_break,
    work_at_load_time,
);

#[test]
fn every_file_has_its_test() {
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
