use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Names the journal's files: `<database>.journal.<number>`, the number in 8 digits and growing. (SQLite keeps
/// `-journal`, `-wal` and `-shm` for itself.)
#[derive(Clone, Debug)]
pub struct SegmentNames {
    folder: PathBuf,
    prefix: OsString,
}

impl SegmentNames {
    /// The names that lie beside `database`.
    pub fn beside(database: &Path) -> io::Result<Self> {
        let mut prefix = database
            .file_name()
            .ok_or(io::ErrorKind::InvalidInput)?
            .to_owned();
        prefix.push(".journal.");
        let folder = match database.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        Ok(Self { folder, prefix })
    }

    /// The path of segment `number`.
    pub fn path(&self, number: u32) -> PathBuf {
        let mut name = self.prefix.clone();
        name.push(format!("{number:08}"));
        self.folder.join(name)
    }

    /// The numbers of the segments that exist, ascending.
    pub fn list(&self) -> io::Result<Vec<u32>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let name = entry?.file_name();
            let (name, prefix) = (name.as_encoded_bytes(), self.prefix.as_encoded_bytes());
            let digits = name
                .strip_prefix(prefix)
                .and_then(|digits| std::str::from_utf8(digits).ok());
            if let Some(number) = digits
                .filter(|digits| digits.len() == 8)
                .and_then(|d| d.parse().ok())
            {
                numbers.push(number);
            }
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Makes segment `number`, which must not exist, for appending.
    pub fn create(&self, number: u32) -> io::Result<File> {
        File::options()
            .append(true)
            .create_new(true)
            .open(self.path(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_its_own_files_in_order_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let names = SegmentNames::beside(&folder.path().join("a.sqlite")).unwrap();
        for number in [10, 2, 99_999_999] {
            names.create(number).unwrap();
        }
        for other in [
            "a.sqlite",
            "a.sqlite-journal",
            "a.sqlite.journal.x",
            "b.sqlite.journal.00000001",
        ] {
            File::create(folder.path().join(other)).unwrap();
        }
        assert_eq!(names.list().unwrap(), [2, 10, 99_999_999]);
    }
}
