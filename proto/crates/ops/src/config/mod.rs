//! Configuration files: TOML, checked before anything starts, every complaint with its line.
//!
//! Order of precedence: an environment variable beats the file, the file beats the default. A variable's name is the
//! plane's prefix and the key's path, levels separated by two underscores, places in arrays as numbers:
//! `RINGPATH_CONTROL__LIMITS__CALLS_MAX=100`, `RINGPATH_CONTROL__ROUTE__0__PREFIX=44`.

mod environment;
mod problems;

use std::path::Path;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::DeTable;

pub use problems::{ConfigError, Problems, Validate};

use environment::Overrides;
use problems::Places;

/// Loads the file at `path`, applies the environment variables that begin with `prefix` followed by two underscores,
/// and validates.
///
/// # Errors
/// A [`ConfigError`] with every problem found, each with its place.
pub fn load<T: DeserializeOwned + Validate>(path: &Path, prefix: &str) -> Result<T, ConfigError> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| ConfigError::unreadable(&name, &error))?;
    parse(
        &name,
        &text,
        &Overrides::from_variables(prefix, std::env::vars_os()),
    )
}

/// Validates what was put together from several files.
///
/// # Errors
/// A [`ConfigError`] with every problem found, each with its key.
pub fn check(config: &impl Validate) -> Result<(), ConfigError> {
    let mut problems = Problems::default();
    config.validate(&mut problems);
    ConfigError::all(problems.into_iter().collect()).map_or(Ok(()), Err)
}

/// [`load`] without the file system and the environment.
fn parse<T: DeserializeOwned + Validate>(
    name: &str,
    text: &str,
    overrides: &Overrides,
) -> Result<T, ConfigError> {
    let places = Places::new(name, text, overrides.names());
    let syntax = |error: toml::de::Error| ConfigError::one(places.at(error.span()), error.message());
    let mut table = DeTable::parse(text).map_err(syntax)?;
    overrides
        .apply(table.get_mut(), text.len())
        .map_err(|(variable, reason)| ConfigError::one(Places::variable(variable), &reason))?;
    let config = T::deserialize(toml::de::Deserializer::from(table.clone())).map_err(syntax)?;
    let mut problems = Problems::default();
    config.validate(&mut problems);
    let found = problems
        .into_iter()
        .map(|(key, reason)| (places.at(span_of(&table, &key)), format!("{key} {reason}")));
    ConfigError::all(found.collect()).map_or(Ok(config), Err)
}

/// The place of the value at `key` (`limits.calls_max`, `route.0.prefix`), or of the deepest part of it that is there.
fn span_of(table: &Spanned<DeTable<'_>>, key: &str) -> Option<std::ops::Range<usize>> {
    let mut span = None;
    let mut value = None;
    for part in key.split('.') {
        let next = match value {
            None => table.get_ref().get(part),
            Some(value) => child(value, part),
        };
        let Some(next) = next else { break };
        span = Some(next.span());
        value = Some(next.get_ref());
    }
    span
}

fn child<'a, 'i>(value: &'a toml::de::DeValue<'i>, part: &str) -> Option<&'a Spanned<toml::de::DeValue<'i>>> {
    if let Some(table) = value.as_table() {
        table.get(part)
    } else {
        value.as_array()?.get(part.parse::<usize>().ok()?)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Example {
        limits: Limits,
        #[serde(default)]
        route: Vec<Route>,
        #[serde(default)]
        password: String,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Limits {
        calls_max: u32,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Route {
        prefix: String,
    }

    impl Validate for Example {
        fn validate(&self, problems: &mut Problems) {
            if self.limits.calls_max == 0 {
                problems.push("limits.calls_max", "must be 1 or more");
            }
            for (n, route) in self.route.iter().enumerate() {
                problems.within(&format!("route.{n}"), route);
            }
        }
    }

    impl Validate for Route {
        fn validate(&self, problems: &mut Problems) {
            if !self.prefix.bytes().all(|b| b.is_ascii_digit()) {
                problems.push("prefix", "must be digits");
            }
        }
    }

    fn try_parse(text: &str, variables: &[(&str, &str)]) -> Result<Example, String> {
        let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
        parse(
            "x.toml",
            text,
            &Overrides::from_variables("RINGPATH_TEST", variables),
        )
        .map_err(|e| e.to_string())
    }

    #[test]
    fn every_kind_of_mistake_has_its_line_and_reason() {
        let cases = BTreeMap::from([
            ("[limits]\ncalls_max = ", "x.toml:2: "),
            (
                "[limits]\ncalls_max = 5\n\n[limit]\n",
                "x.toml:4: unknown field `limit`",
            ),
            (
                "[limits]\ncalls_max = 5\nfoo = 1\n",
                "x.toml:3: unknown field `foo`",
            ),
            (
                "[limits]\ncalls_max = \"many\"\n",
                "x.toml:2: invalid type: string \"many\"",
            ),
            (
                "[limits]\ncalls_max = 0\n",
                "x.toml:2: limits.calls_max must be 1 or more",
            ),
            ("[limits]\ncalls_max = -1\n", "x.toml:2: invalid value"),
            ("[limits]\n", "x.toml:1: missing field `calls_max`"),
            (
                "route = 5\n[limits]\ncalls_max = 5\n",
                "x.toml:1: invalid type: integer `5`",
            ),
            (
                "[limits]\ncalls_max=1\n[[route]]\nprefix=\"1\"\n[[route]]\nprefix=\"a\"\n",
                "x.toml:6: route.1.prefix must be digits",
            ),
        ]);
        for (text, expected) in cases {
            let error = try_parse(text, &[]).expect_err(text);
            assert!(
                error.starts_with(expected),
                "for {text:?}: got {error:?}, not {expected:?}"
            );
        }
    }

    #[test]
    fn all_validation_problems_are_told_at_once() {
        let error =
            try_parse("[limits]\ncalls_max = 0\n[[route]]\nprefix = \"x\"\n", &[]).expect_err("two problems");
        assert_eq!(
            error,
            "x.toml:2: limits.calls_max must be 1 or more\nx.toml:4: route.0.prefix must be digits"
        );
    }

    #[test]
    fn a_variable_beats_the_file_and_is_named_when_it_is_wrong() {
        let text = "[limits]\ncalls_max = 5\n[[route]]\nprefix = \"1\"\n";
        let example = try_parse(
            text,
            &[
                ("RINGPATH_TEST__LIMITS__CALLS_MAX", "7"),
                ("RINGPATH_TEST__ROUTE__0__PREFIX", "44"),
                ("RINGPATH_TEST__PASSWORD", "s3cret=\"x"),
                ("RINGPATH_TESTING__LIMITS__CALLS_MAX", "9"),
            ],
        )
        .expect("valid");
        assert_eq!(
            (example.limits.calls_max, example.route[0].prefix.as_str()),
            (7, "44")
        );
        assert_eq!(example.password, "s3cret=\"x", "text that is no TOML is text");

        for (name, value, expected) in [
            (
                "RINGPATH_TEST__LIMITS__CALLS_MAX",
                "many",
                "variable RINGPATH_TEST__LIMITS__CALLS_MAX: invalid type",
            ),
            (
                "RINGPATH_TEST__LIMITS__CALLS_MAX",
                "0",
                "variable RINGPATH_TEST__LIMITS__CALLS_MAX: limits.calls_max must",
            ),
            (
                "RINGPATH_TEST__LIMITS__WHAT",
                "0",
                "variable RINGPATH_TEST__LIMITS__WHAT: unknown field `what`",
            ),
            (
                "RINGPATH_TEST__LIMITS__CALLS_MAX__X",
                "0",
                "variable RINGPATH_TEST__LIMITS__CALLS_MAX__X: is inside",
            ),
            (
                "RINGPATH_TEST__ROUTE__1__PREFIX",
                "0",
                "variable RINGPATH_TEST__ROUTE__1__PREFIX: has no entry 1",
            ),
        ] {
            let error = try_parse(text, &[(name, value)]).expect_err(name);
            assert!(error.starts_with(expected), "got {error:?}, not {expected:?}");
        }
    }
}
