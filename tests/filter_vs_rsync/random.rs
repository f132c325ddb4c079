//! Reproducible random trees, patterns and rules.

use std::{os::unix::ffi::OsStrExt as _, path::Path};

use mirror_core::{fs_event::EntryKind, path::TreePath};

/// A pseudo-random generator by splitmix64.
pub(crate) struct FilterCaseRng(pub(crate) u64);

impl FilterCaseRng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit).unwrap()).unwrap()
    }

    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }
}

pub(crate) type TypedPath = (TreePath, EntryKind);

const NAME_PIECES: &[&[u8]] = &[
    b"a",
    b"a",
    b"a",
    b"b",
    b"b",
    b"b",
    b"c",
    b"ab",
    b"foo",
    b".",
    b".c",
    b"-",
    b" ",
    b"#",
    b";",
    b"!",
    b"+",
    b"[",
    b"]",
    b"\\",
    b"\\",
    b"*",
    b"?",
    b"\n",
    b"\r",
    b"^",
    b"_",
    b"\xc3\xa9",
    NOT_UTF8,
    b"\t",
    // On most Macs, names that differ only in case are one name.
    if cfg!(target_os = "linux") { b"A" } else { b"Z" },
    b"1",
    b":",
    b",",
    b"\x01",
    b"\\#134",
    b"$",
    b"~",
];

/// Bytes that are no UTF-8, except on macOS, whose file systems refuse them.
const NOT_UTF8: &[u8] = if cfg!(target_os = "linux") { b"\xff" } else { "\u{e9}".as_bytes() };

const WILD_PIECES: &[&[u8]] = &[
    b"*",
    b"*",
    b"*",
    b"**",
    b"**",
    b"***",
    b"****",
    b"?",
    b"?",
    b"[ab]",
    b"[!a]",
    b"[^b]",
    b"[a-c]",
    b"[]a]",
    b"[!]a]",
    b"[a-]",
    b"[-b]",
    b"[\\]b]",
    b"[\\\\]",
    b"[[]",
    b"[/a]",
    b"[**]",
    b"[[:alpha:]]",
    b"[[:punct:]]",
    b"[^[:space:]]",
    b"[[:cntrl:]a]",
    b"[[:nope:]]",
    b"[[:a]",
    b"[",
    b"[]",
    b"\\",
    b"\\*",
    b"\\\\",
    b"\\?",
    b"\\[",
    b"[!/]",
    b"[b-a]",
    b"[a-\\c]",
    b"[[:upper:]-z]",
    b"[%--]",
    b"[\x80-\xff]",
    b"[[:blank:][:digit:]]",
    b"[[:]",
    b"[[::]]",
];

fn name(random: &mut FilterCaseRng) -> Vec<u8> {
    let pieces = 1 + random.below(3);
    (0..pieces).flat_map(|_| random.pick(NAME_PIECES)).copied().collect()
}

pub(crate) fn random_tree(random: &mut FilterCaseRng) -> Vec<TypedPath> {
    let mut directories = vec![TreePath::root()];
    let mut entries: Vec<TypedPath> = Vec::new();
    for _ in 0..4 + random.below(24) {
        let parent = &directories[random.below(directories.len())];
        let Some(path) = parent.join(&name(random)) else { continue };
        if entries.iter().any(|(known, _)| *known == path) {
            continue;
        }
        let kind = if random.chance(50) { EntryKind::Directory } else { EntryKind::Other };
        if kind == EntryKind::Directory {
            directories.push(path.clone());
        }
        entries.push((path, kind));
    }
    entries
}

/// Returns a pattern that is likely to match: a path of the tree with inserted wildcards.
pub(crate) fn random_pattern(random: &mut FilterCaseRng, tree: &[TypedPath]) -> Vec<u8> {
    let mut pattern = Vec::new();
    if random.chance(12) || tree.is_empty() {
        for _ in 0..=random.below(5) {
            let pieces = if random.chance(50) { NAME_PIECES } else { WILD_PIECES };
            pattern.extend_from_slice(random.pick(pieces));
            if random.chance(15) {
                pattern.push(b'/');
            }
        }
    } else {
        let path = tree[random.below(tree.len())].0.as_bytes();
        let names: Vec<&[u8]> = path.split(|&b| b == b'/').collect();
        let from = if random.chance(40) { names.len() - 1 } else { random.below(names.len()) };
        let to = from + 1 + random.below(names.len() - from);
        let wildness = random.pick(&[&0, &0, &10, &25, &50]);
        for &byte in &names[from..to].join(&b'/') {
            match random.below(100) {
                roll if roll < *wildness => pattern.extend_from_slice(random.pick(WILD_PIECES)),
                roll if roll < wildness + 2 => {}
                roll if roll < wildness + 10 && *wildness > 0 && b"*?[\\]".contains(&byte) => {
                    pattern.extend([b'\\', byte]);
                }
                _ => pattern.push(byte),
            }
        }
        if random.chance(20) {
            pattern.insert(0, b'/');
        }
    }
    let head: &[u8] =
        if random.chance(85) { b"" } else { random.pick(&[b"**/", b"**", b"*", b"/**/", b"/*"]) };
    let end: &[u8] = if random.chance(60) {
        b""
    } else {
        random.pick(&[b"/", b"/", b"/***", b"/**", b"*", b"**", b"/*", b"***", b"//"])
    };
    [head, &pattern, end].concat()
}

const RULE_NAMES: &[&[u8]] = &[
    b"-",
    b"-",
    b"-",
    b"-",
    b"+",
    b"+",
    b"H",
    b"S",
    b"P",
    b"R",
    b"exclude",
    b"include",
    b"hide",
    b"show",
    b"protect",
    b"risk",
    b"-s",
    b"-r",
    b"+s",
    b"+r",
    b"-p",
    b"-!",
    b"+!",
    b"-/",
    b"P/",
    b"-sr",
    b"-x",
    b"-,p",
    b"exclude,!",
    b"Pp",
    b"hide,!/",
];

/// Names and modifiers that rsync mostly refuses.
const ODD_NAMES: &[&[u8]] = &[
    b"|",
    b"Hs",
    b"-s,p",
    b"-e",
    b"-n",
    b"excludes",
    b"X",
    b"",
    b"clear",
    b"!",
    b"! ",
    b"!,",
    b".!",
    b"protect,r",
    b"--",
    b"-+",
    b"-w",
    b"clear,s",
];

/// Returns a pattern for absolute paths that is likely to match at the source or the target.
fn absolute(random: &mut FilterCaseRng, root: &Path, pattern: &[u8]) -> Vec<u8> {
    let side = random.pick(&[&b"source"[..], b"target", b"*", b"[st]*", b"**"]);
    let root = root.as_os_str().as_bytes();
    let parent = root.rsplit(|&b| b == b'/').next().unwrap_or_default();
    let head = random.pick(&[root, parent, b"/**", b"**"]);
    [head, b"/", side, b"/", pattern.strip_prefix(b"/").unwrap_or(pattern)].concat()
}

pub(crate) fn random_line(
    random: &mut FilterCaseRng,
    tree: &[TypedPath],
    root: &Path,
    odd: usize,
) -> Vec<u8> {
    let pattern = random_pattern(random, tree);
    if random.chance(5) {
        let name = random.pick(&[&b"-/ "[..], b"-/s ", b"+/_", b"P/ ", b"-!/ ", b"exclude,/ "]);
        return [name, &absolute(random, root, &pattern)].concat();
    }
    if random.chance(odd) {
        let gap: &[u8] = random.pick(&[b" ", b"_", b"", b"\t"]);
        return [random.pick(ODD_NAMES), gap, &pattern].concat();
    }
    if random.chance(2) {
        return random.pick::<[u8]>(&[b"!", b"-C", b"clear", b"-sC", b""]).to_vec();
    }
    let gap: &[u8] = if random.chance(90) { b" " } else { b"_" };
    [random.pick(RULE_NAMES), gap, &pattern].concat()
}

/// Returns the content of a file of rules or, without rule names, of patterns.
pub(crate) fn random_file(
    random: &mut FilterCaseRng,
    tree: &[TypedPath],
    root: &Path,
    named: bool,
) -> Vec<u8> {
    let mut text = Vec::new();
    for _ in 0..=random.below(4) {
        match random.below(20) {
            0 => text.extend_from_slice(b"# a\n"),
            1 => text.extend_from_slice(b"; a"),
            2 => text.extend_from_slice(b"\r"),
            3 if !named => text.extend_from_slice(b"!"),
            4 | 5 if !named => text.extend_from_slice(b"+ "),
            6 if !named => text.extend_from_slice(b"- "),
            _ => {}
        }
        let mut line =
            if named { random_line(random, tree, root, 1) } else { random_pattern(random, tree) };
        // A part of a pattern is rarely a valid rule.
        line.retain(|&b| !named || (b != b'\n' && b != b'\r'));
        text.extend(line);
        text.extend_from_slice(random.pick(&[&b"\n"[..], b"\n", b"\n", b"\r\n", b"\n\n"]));
    }
    text
}
