use std::ffi::OsString;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The environment variables that override parts of a configuration file.
#[derive(Debug, Default)]
pub(super) struct Overrides {
    /// Sorted by name, so that the outcome does not depend on the environment's order.
    variables: Vec<Variable>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Variable {
    name: String,
    /// The key's path, in lower case.
    path: Vec<String>,
    value: String,
}

impl Overrides {
    /// Takes those of `variables` that begin with `prefix` and two underscores.
    pub(super) fn from_variables(
        prefix: &str,
        variables: impl Iterator<Item = (OsString, OsString)>,
    ) -> Self {
        let start = format!("{prefix}__");
        let mut variables: Vec<_> = variables
            .filter_map(|(name, value)| {
                let name = name.into_string().ok()?;
                let path = name
                    .strip_prefix(&start)?
                    .split("__")
                    .map(str::to_ascii_lowercase)
                    .collect();
                // A value that is not UTF-8 becomes one that no key of ours accepts by accident.
                Some(Variable {
                    name,
                    path,
                    value: value.to_string_lossy().into_owned(),
                })
            })
            .collect();
        variables.sort();
        Self { variables }
    }

    /// The variables' names. What the n-th of them set stands at the place `text_len + n`, behind the file's text.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.variables.iter().map(|variable| variable.name.as_str())
    }

    /// Puts the overrides into the parsed file of `text_len` bytes. A variable that does not fit is told with the reason.
    pub(super) fn apply<'i>(
        &'i self,
        table: &mut DeTable<'i>,
        text_len: usize,
    ) -> Result<(), (&'i str, String)> {
        for (n, variable) in self.variables.iter().enumerate() {
            let new = New {
                text: &variable.value,
                place: text_len + n..text_len + n,
            };
            insert_in_table(table, &variable.path, &new)
                .map_err(|reason| (variable.name.as_str(), reason))?;
        }
        Ok(())
    }
}

/// A value on its way into the table.
struct New<'i> {
    text: &'i str,
    place: Range<usize>,
}

impl<'i> New<'i> {
    /// What the text means: where the file has text, text; else a TOML value if it reads as one (number, boolean,
    /// array, quoted string), else text. Quotes in the variable force text.
    fn value(&self, old: Option<&DeValue<'_>>) -> Spanned<DeValue<'i>> {
        let read = DeValue::parse(self.text)
            .ok()
            .map(|value| at_place(value.into_inner(), &self.place));
        let read = read.filter(|new| new.is_str() || !old.is_some_and(DeValue::is_str));
        Spanned::new(
            self.place.clone(),
            read.unwrap_or_else(|| DeValue::String(self.text.into())),
        )
    }
}

/// Makes all that is inside `value` stand at `place`.
fn at_place<'i>(value: DeValue<'i>, place: &Range<usize>) -> DeValue<'i> {
    let moved = |item: Spanned<DeValue<'i>>| Spanned::new(place.clone(), at_place(item.into_inner(), place));
    match value {
        DeValue::Array(items) => DeValue::Array(items.into_iter().map(moved).collect()),
        DeValue::Table(entries) => DeValue::Table(
            entries
                .into_iter()
                .map(|(key, item)| (Spanned::new(place.clone(), key.into_inner()), moved(item)))
                .collect(),
        ),
        plain => plain,
    }
}

fn insert_in_table<'i>(table: &mut DeTable<'i>, path: &'i [String], new: &New<'i>) -> Result<(), String> {
    let Some((key, rest)) = path.split_first() else {
        return Err("names no key".into());
    };
    let old = table.get_mut(key.as_str());
    let value = match old {
        Some(inner) if !rest.is_empty() => return insert_in_value(inner.get_mut(), rest, new),
        old => new.value(old.map(|old| old.get_ref())),
    };
    let place = &new.place;
    let value = rest.iter().rev().fold(value, |value, key| {
        let entry = (Spanned::new(place.clone(), key.as_str().into()), value);
        Spanned::new(place.clone(), DeValue::Table(DeTable::from_iter([entry])))
    });
    // The old key would keep its place in the file; complaints shall name the variable.
    table.remove(key.as_str());
    table.insert(Spanned::new(place.clone(), key.as_str().into()), value);
    Ok(())
}

fn insert_in_value<'i>(inner: &mut DeValue<'i>, path: &'i [String], new: &New<'i>) -> Result<(), String> {
    match inner {
        DeValue::Table(table) => insert_in_table(table, path, new),
        DeValue::Array(items) => {
            let (place, rest) = path.split_first().ok_or("names no entry")?;
            let entry = place.parse().ok().and_then(|n: usize| items.get_mut(n));
            let entry = entry.ok_or_else(|| format!("has no entry {place} to override"))?;
            if rest.is_empty() {
                *entry = new.value(Some(entry.get_ref()));
                Ok(())
            } else {
                insert_in_value(entry.get_mut(), rest, new)
            }
        }
        _ => Err("is inside a value that is neither a table nor an array".into()),
    }
}
