//! The command line of `cargo xtask soak`.

use std::{path::PathBuf, time::Duration};

use crate::arguments::number;

/// Command line options.
#[derive(Debug)]
pub(crate) struct SoakOptions {
    pub(crate) time: Duration,
    pub(crate) seed: u64,
    /// True if the figures go to the document.
    pub(crate) write: bool,
    pub(crate) program: Option<PathBuf>,
    pub(crate) directory: Option<PathBuf>,
}

impl SoakOptions {
    /// Parses the arguments of the task.
    ///
    /// # Errors
    ///
    /// Returns a message that names the argument.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut options = Self {
            time: Duration::from_hours(1),
            seed: 1,
            write: false,
            program: None,
            directory: None,
        };
        let mut args = arguments.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--minutes" => options.time = minutes(value()?)?,
                "--seed" => options.seed = number(value()?)?,
                "--write" => options.write = true,
                "--program" => options.program = Some(PathBuf::from(value()?)),
                "--directory" => options.directory = Some(PathBuf::from(value()?)),
                _ => return Err(format!("{arg} is no option of soak")),
            }
        }
        Ok(options)
    }
}

fn minutes(text: &str) -> Result<Duration, String> {
    let minutes: f64 = number(text)?;
    match Duration::try_from_secs_f64(minutes * 60.0) {
        Ok(time) if minutes >= 1.0 => Ok(time),
        Ok(_) | Err(_) => Err(format!("{text} minutes: at least 1 is needed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<SoakOptions, String> {
        let args: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        SoakOptions::parse(&args)
    }

    #[test]
    fn a_run_takes_an_hour_unless_told_otherwise() {
        assert_eq!(parse("").unwrap().time, Duration::from_hours(1));
        let options = parse("--minutes 5 --seed 7 --program lsyncd --write").unwrap();
        assert_eq!((options.time, options.seed), (Duration::from_mins(5), 7));
        assert!(options.write && options.program.is_some());
    }

    #[test]
    fn wrong_arguments_are_refused() {
        for wrong in ["--minutes", "--minutes 0", "--minutes -1", "--seed x", "--storm"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
