//! The command line of `cargo xtask damage`.

use std::path::PathBuf;

use super::matrix::{DamageCell, DamageFault, DamageKind, DamageLoad};
use crate::arguments::number;

/// Command line options.
#[derive(Debug, PartialEq)]
pub(crate) struct DamageOptions {
    /// The selected kinds, faults and loads. None: all.
    pub(crate) kinds: Vec<DamageKind>,
    pub(crate) faults: Vec<DamageFault>,
    pub(crate) loads: Vec<DamageLoad>,
    /// True for the selection of CI.
    pub(crate) is_short: bool,
    pub(crate) jobs: usize,
    pub(crate) seed: u64,
    /// True if the table is written.
    pub(crate) write: bool,
    pub(crate) program: Option<PathBuf>,
    pub(crate) directory: Option<PathBuf>,
    pub(crate) old_rsync: Option<PathBuf>,
}

impl DamageOptions {
    /// Parses the arguments of the task.
    ///
    /// # Errors
    ///
    /// Returns a message that names the argument.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut options = Self {
            kinds: Vec::new(),
            faults: Vec::new(),
            loads: Vec::new(),
            is_short: false,
            jobs: 4,
            seed: 1,
            write: false,
            program: None,
            directory: None,
            old_rsync: None,
        };
        let mut args = arguments.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--kind" => options.kinds.push(find(value()?, DamageKind::ALL, DamageKind::name)?),
                "--fault" => {
                    options.faults.push(find(value()?, DamageFault::ALL, DamageFault::name)?);
                }
                "--load" => options.loads.push(find(value()?, DamageLoad::ALL, DamageLoad::name)?),
                "--short" => options.is_short = true,
                "--jobs" => options.jobs = number(value()?)?,
                "--seed" => options.seed = number(value()?)?,
                "--write" => options.write = true,
                "--binary" => options.program = Some(PathBuf::from(value()?)),
                "--directory" => options.directory = Some(PathBuf::from(value()?)),
                "--old-rsync" => options.old_rsync = Some(PathBuf::from(value()?)),
                _ => return Err(format!("{arg} is no option of damage")),
            }
        }
        if options.write && (options.is_short || options.is_filtered()) {
            return Err("--write needs the whole matrix".into());
        }
        Ok(options)
    }

    fn is_filtered(&self) -> bool {
        !(self.kinds.is_empty() && self.faults.is_empty() && self.loads.is_empty())
    }

    /// Returns true if a cell is selected.
    pub(crate) fn selects(&self, cell: DamageCell) -> bool {
        (self.kinds.is_empty() || self.kinds.contains(&cell.kind))
            && (self.faults.is_empty() || self.faults.contains(&cell.fault))
            && (self.loads.is_empty() || self.loads.contains(&cell.load))
    }
}

fn find<T: Copy, const N: usize>(
    name: &str,
    all: [T; N],
    name_of: fn(T) -> &'static str,
) -> Result<T, String> {
    all.into_iter()
        .find(|it| name_of(*it) == name)
        .ok_or_else(|| format!("{name} is none of {}", all.map(name_of).join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<DamageOptions, String> {
        let args: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        DamageOptions::parse(&args)
    }

    #[test]
    fn filters_select_cells() {
        let options = parse("--kind direct --kind rsync --fault kill --load big --seed 7").unwrap();
        let selected = DamageCell::all().into_iter().filter(|cell| options.selects(*cell));
        assert_eq!(selected.count(), 2);
        assert_eq!(options.seed, 7);
    }

    #[test]
    fn wrong_arguments_are_refused() {
        for wrong in ["--kind", "--kind tape", "--jobs x", "--storm", "--write --short"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert!(parse("--write").unwrap().write);
    }
}
