//! Completions of `lsyncd`. Those of `lsyncctl` come from `clap_complete`.

use std::{collections::BTreeMap, fmt::Write as _};

use lsyncd::frontend::cli::help::{OPTIONS, OptionCompletion, OptionHelp, SYNC_OPTIONS};

/// Returns the options by their names, each one once.
fn options() -> BTreeMap<&'static str, &'static OptionHelp> {
    let mut options = BTreeMap::new();
    for option in SYNC_OPTIONS.iter().chain(&OPTIONS) {
        for name in option.names {
            // An option with several forms keeps the last one, which is the general one.
            options.insert(*name, option);
        }
    }
    options
}

/// Returns the completions for bash.
pub(crate) fn bash() -> String {
    let mut cases = String::new();
    for (name, option) in options() {
        let reply = match option.completion {
            OptionCompletion::Nothing => continue,
            OptionCompletion::Text => "COMPREPLY=()".to_owned(),
            OptionCompletion::File => {
                "compopt -o filenames; COMPREPLY=($(compgen -f -- \"$word\"))".to_owned()
            }
            OptionCompletion::Source => {
                "compopt -o filenames; COMPREPLY=($(compgen -d -- \"$word\"))".to_owned()
            }
            OptionCompletion::Words(words) => {
                let words = words.join(" ");
                format!("IFS=$' \\n'; COMPREPLY=($(compgen -W '{words}' -- \"$word\"))")
            }
        };
        let _ = writeln!(cases, "        {name} | -{name}) {reply} ;;");
    }
    let names: Vec<&str> = options().into_keys().collect();
    let names = names.join(" ");
    format!(
        "\
# Completions of lsyncd for bash.
_lsyncd() {{
    local IFS=$'\\n' word=\"${{COMP_WORDS[COMP_CWORD]}}\" previous=\"${{COMP_WORDS[COMP_CWORD-1]}}\"
    COMPREPLY=()
    case \"$previous\" in
{cases}        *)
            if [[ $word == -* ]]; then
                IFS=$' \\n'
                COMPREPLY=($(compgen -W '{names}' -- \"$word\"))
            else
                compopt -o filenames
                COMPREPLY=($(compgen -f -- \"$word\"))
            fi
            ;;
    esac
}}
complete -F _lsyncd lsyncd
"
    )
}

/// Returns the completions for zsh.
pub(crate) fn zsh() -> String {
    let mut lines = String::new();
    for (name, option) in options() {
        let text = option.text.replace('\'', "'\\''").replace([':', '[', ']'], " ");
        let _ = write!(lines, "    '*{name}[{text}]");
        let argument = option.arguments.split(' ').next().unwrap_or_default().to_lowercase();
        let _ = match option.completion {
            OptionCompletion::Nothing => Ok(()),
            OptionCompletion::Text => write!(lines, ":{argument}: "),
            OptionCompletion::File => write!(lines, ":{argument}:_files"),
            OptionCompletion::Words(words) => write!(lines, ":{argument}:({})", words.join(" ")),
            OptionCompletion::Source => {
                let mut names = option.arguments.split(' ').map(str::to_lowercase);
                let _ = write!(lines, ":{}:_files -/", names.next().unwrap_or_default());
                names.try_for_each(|name| write!(lines, ":{name}:_files -/"))
            }
        };
        lines += "' \\\n";
    }
    format!(
        "#compdef lsyncd\n# Completions of lsyncd for zsh.\n_arguments \\\n{lines}    '*:configuration file:_files'\n"
    )
}

/// Returns the completions for fish.
pub(crate) fn fish() -> String {
    let mut text = "# Completions of lsyncd for fish.\n".to_owned();
    for (name, option) in options() {
        let name = name.trim_start_matches('-');
        let meaning = option.text.replace('\\', "\\\\").replace('\'', "\\'");
        let argument = match option.completion {
            OptionCompletion::Nothing => String::new(),
            OptionCompletion::Text => " -x".to_owned(),
            OptionCompletion::File => " -rF".to_owned(),
            OptionCompletion::Source => " -x -a '(__fish_complete_directories)'".to_owned(),
            OptionCompletion::Words(words) => format!(" -x -a '{}'", words.join(" ")),
        };
        let _ = writeln!(text, "complete -c lsyncd -o {name}{argument} -d '{meaning}'");
    }
    text
}
