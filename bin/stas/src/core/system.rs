// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Which NVMe namespaces the running system cannot do without.
//!
//! Owns the reading of `/proc/self/mountinfo` and `/proc/swaps` (proc(5)) and the names of
//! namespaces. A file system or a swap area may lie on a partition, or on devices stacked on top of
//! each other (device mapper, md); walking down the stack in sysfs is left to the shell.

/// Where the root file system, and what belongs to it, is mounted: now, or from the point of view
/// of an initramfs, soon.
const SYSTEM_MOUNTS: [&str; 4] = ["/", "/usr", "/sysroot", "/sysroot/usr"];

/// How a block device is named by one of the two files.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// `major:minor`, as the directories in `/sys/dev/block` are called.
    Number(String),
    /// A path below `/dev`, without that prefix.
    Path(String),
}

struct Mount<'a> {
    number: &'a str,
    point: &'a str,
    source: &'a str,
}

impl Mount<'_> {
    fn sources(&self) -> impl Iterator<Item = Source> {
        // Some file systems (btrfs) have a number of their own: then the source tells.
        let path = self.source.strip_prefix("/dev/").map(str::to_owned);
        [Some(Source::Number(self.number.to_owned())), path.map(Source::Path)].into_iter().flatten()
    }
}

/// A line of `mountinfo`: ids, number, root, mount point, options, a dash, type, source.
fn mount(line: &str) -> Option<Mount<'_>> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(2);
    let (number, point) = (left.next()?, left.nth(1)?);
    Some(Mount { number, point, source: right.split(' ').nth(1)? })
}

/// The block devices that carry the root file system or swap, of which some may be named twice.
/// Lines that are not understood are passed over.
#[must_use]
pub fn sources(mountinfo: &str, swaps: &str) -> Vec<Source> {
    let mounts: Vec<Mount<'_>> = mountinfo.lines().filter_map(mount).collect();
    let of_root = mounts.iter().filter(|mount| SYSTEM_MOUNTS.contains(&mount.point));
    let mut found: Vec<Source> = of_root.flat_map(Mount::sources).collect();
    for line in swaps.lines().skip(1) {
        let mut words = line.split_whitespace();
        let (Some(name), Some(kind)) = (words.next(), words.next()) else { continue };
        match name.strip_prefix("/dev/") {
            Some(path) => found.push(Source::Path(path.to_owned())),
            None if kind == "file" => {
                let holds = |mount: &&Mount<'_>| is_below(name, mount.point);
                let innermost = mounts.iter().filter(holds).max_by_key(|mount| mount.point.len());
                found.extend(innermost.into_iter().flat_map(Mount::sources));
            }
            None => {}
        }
    }
    found
}

fn is_below(path: &str, directory: &str) -> bool {
    let directory = directory.trim_end_matches('/');
    path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
}

/// `nvme0n1` for that name and those of its partitions; `None` for what is no namespace.
#[must_use]
pub fn namespace(block: &str) -> Option<&str> {
    let rest = block.strip_prefix("nvme")?;
    let (controller, rest) = digits(rest)?;
    let (number, rest) = digits(rest.strip_prefix('n')?)?;
    let partition = rest.strip_prefix('p').and_then(digits);
    let complete = rest.is_empty() || partition.is_some_and(|(_, rest)| rest.is_empty());
    complete.then(|| block.get(.."nvme".len() + controller.len() + 1 + number.len()))?
}

/// The namespace that a child of a controller is, or is a path to (`nvme0c1n1` to `nvme0n1`).
#[must_use]
pub fn reached_through(child: &str) -> Option<String> {
    if let Some(own) = namespace(child) {
        return (own == child).then(|| own.to_owned());
    }
    let (subsystem, rest) = digits(child.strip_prefix("nvme")?)?;
    let (_, rest) = digits(rest.strip_prefix('c')?)?;
    let (number, rest) = digits(rest.strip_prefix('n')?)?;
    rest.is_empty().then(|| format!("nvme{subsystem}n{number}"))
}

/// The digits that `text` begins with, at least one, and what follows them.
fn digits(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 27 0:21 / /proc rw,nosuid shared:13 - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/mapper/vg-root rw
60 27 259:2 / /srv rw,relatime shared:30 master:1 - xfs /dev/nvme1n1p2 rw
61 27 0:45 /@usr /usr rw shared:31 - btrfs /dev/nvme2n1 rw,subvol=/@usr
62 60 259:9 / /srv/data rw - xfs /dev/nvme3n1 rw
";

    fn number(text: &str) -> Source {
        Source::Number(text.to_owned())
    }

    fn path(text: &str) -> Source {
        Source::Path(text.to_owned())
    }

    // R050
    #[test]
    fn the_root_file_system_is_found_by_number_and_by_source() {
        let expected = [number("254:0"), path("mapper/vg-root"), number("0:45"), path("nvme2n1")];
        assert_eq!(sources(MOUNTS, ""), expected);
        let initramfs = "40 1 259:5 / /sysroot ro - ext4 /dev/nvme0n1p5 ro\n";
        assert_eq!(sources(initramfs, ""), [number("259:5"), path("nvme0n1p5")]);
    }

    // R050
    #[test]
    fn swap_areas_and_the_file_systems_of_swap_files_count() {
        let swaps = "Filename\t\tType\t\tSize\tUsed\tPriority\n\
                     /dev/nvme0n1p3     partition\t8388604\t0\t-2\n\
                     /srv/data/swapfile   file\t1024\t0\t-3\n\
                     /srv/database   file\t1024\t0\t-3\n";
        let data = [number("259:9"), path("nvme3n1")];
        let srv = [number("259:2"), path("nvme1n1p2")];
        let elsewhere = MOUNTS.replace(" / / ", " / /mnt ").replace(" /usr ", " /opt ");
        let expected: Vec<Source> =
            [path("nvme0n1p3")].into_iter().chain(data).chain(srv).collect();
        assert_eq!(sources(&elsewhere, swaps), expected);
    }

    // R050
    #[test]
    fn lines_that_make_no_sense_are_passed_over() {
        for text in ["", "\n\n", "a - b", "1 2 3 - x", " - ", "1 2 8:1 / / - ", "/", "x file"] {
            assert_eq!(sources(text, text), [], "{text:?}");
        }
    }

    // R050
    #[test]
    fn namespaces_are_known_by_their_names() {
        for (block, expected) in [
            ("nvme0n1", Some("nvme0n1")),
            ("nvme12n34p5", Some("nvme12n34")),
            ("nvme0c1n1", None),
            ("nvme0", None),
            ("nvme0n1p", None),
            ("nvme0n1x", None),
            ("nvmen1", None),
            ("sda1", None),
        ] {
            assert_eq!(namespace(block), expected, "{block}");
        }
        for (child, expected) in [
            ("nvme0n1", Some("nvme0n1")),
            ("nvme3c12n1", Some("nvme3n1")),
            ("nvme0n1p1", None),
            ("nvme0c1", None),
            ("ng0n1", None),
            ("hwmon2", None),
        ] {
            assert_eq!(reached_through(child).as_deref(), expected, "{child}");
        }
    }
}
