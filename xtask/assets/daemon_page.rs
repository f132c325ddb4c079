//! `lsyncd(1)`.

use lsyncd::frontend::cli::help::{OPTIONS, OptionHelp, SYNC_OPTIONS};
use roff::{Inline, Roff, bold, italic, roman};

use crate::MANUAL;

/// A heading with its paragraphs.
struct PageSection {
    title: &'static str,
    paragraphs: &'static [&'static str],
}

const DESCRIPTION: PageSection = PageSection {
    title: "DESCRIPTION",
    paragraphs: &[
        "lsyncd watches directory trees and keeps mirrors of them up to date. It transfers changes \
         by rsync, by rsync over ssh, or by itself to another directory of the machine.",
        "The syncs are configured by a file, see lsyncd.conf(5), or on the command line. \
         lsyncctl(1) shows and controls a running daemon.",
    ],
};

const AFTER_OPTIONS: [PageSection; 3] = [
    PageSection {
        title: "SIGNALS",
        paragraphs: &[
            "SIGHUP reloads the configuration file and reopens the log file. Only syncs that \
             changed are replaced, and an invalid file changes nothing.",
            "SIGUSR1 writes the state into the log.",
            "SIGTERM and SIGINT end the daemon.",
        ],
    },
    PageSection {
        title: "EXIT STATUS",
        paragraphs: &[
            "0 for success and for the help, 143 after SIGTERM and 130 after SIGINT, 255 for all \
             failures. With -check=strict, 1 if there are warnings. -configExitCode replaces 255 \
             if the command line or the configuration is invalid.",
        ],
    },
    PageSection {
        title: "SEE ALSO",
        paragraphs: &["lsyncctl(1), lsyncd.conf(5), rsync(1), ssh(1)"],
    },
];

/// Returns the page.
pub(crate) fn page() -> String {
    let mut page = Roff::new();
    page.control("TH", ["LSYNCD", "1", "", env!("CARGO_PKG_VERSION"), MANUAL]);
    page.control("SH", ["NAME"]);
    page.text([roman("lsyncd - keep mirrors of directory trees up to date")]);
    page.control("SH", ["SYNOPSIS"]);
    let config = [italic("CONFIG-FILE")];
    write_synopsis(&mut page, config.to_vec());
    for OptionHelp { names, arguments, .. } in &SYNC_OPTIONS {
        page.control("br", []);
        write_synopsis(&mut page, vec![bold(names.join(", ")), roman(" "), italic(*arguments)]);
    }
    write_section(&mut page, &DESCRIPTION);
    page.control("SH", ["OPTIONS"]);
    page.text([roman("Options begin with one dash or two.")]);
    for option in SYNC_OPTIONS.iter().chain(&OPTIONS) {
        write_option(&mut page, option);
    }
    for section in &AFTER_OPTIONS {
        write_section(&mut page, section);
    }
    page.render()
}

fn write_synopsis(page: &mut Roff, arguments: Vec<Inline>) {
    let mut line = vec![bold("lsyncd"), roman(" ["), italic("OPTIONS"), roman("] ")];
    line.extend(arguments);
    page.text(line);
}

fn write_section(page: &mut Roff, section: &PageSection) {
    page.control("SH", [section.title]);
    for (number, paragraph) in section.paragraphs.iter().enumerate() {
        if number > 0 {
            page.control("PP", []);
        }
        page.text([roman(*paragraph)]);
    }
}

fn write_option(page: &mut Roff, option: &OptionHelp) {
    page.control("TP", []);
    let mut head = Vec::new();
    for name in option.names {
        if !head.is_empty() {
            head.push(roman(", "));
        }
        head.push(bold(*name));
    }
    if !option.arguments.is_empty() {
        head.extend([roman(" "), italic(option.arguments)]);
    }
    page.text(head);
    page.text([roman(option.text)]);
}
