use std::fmt;
use std::path::Path;

use serde::Serialize;

use super::checks;
use super::finding::Status;
use super::setting::Wanted;
use super::undo::{Record, RecordError, same};
use super::view::View;

/// Rounds of looking and changing: more queues bring more interrupts, which then are there to be spread.
const ROUNDS: usize = 3;

/// What became of one setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The setting.
    pub setting: String,
    /// What it was.
    pub before: String,
    /// What it is now.
    pub after: String,
    /// Why it was not changed; empty when it was, or needed not be.
    pub refused: String,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            setting,
            before,
            after,
            refused,
        } = self;
        match refused.is_empty() {
            true => write!(f, "changed  {setting}: {before} -> {after}"),
            false => write!(f, "kept     {setting}: {after}: {refused}"),
        }
    }
}

/// Makes the changes that the named checks (all, when none is named) ask for and that may be made while traffic runs, and
/// notes each in the record of `path` before it is made.
///
/// # Errors
/// When the record cannot be read or written; nothing is changed without it.
pub fn apply(view: &View<'_>, only: &[String], path: &Path) -> Result<Vec<Step>, RecordError> {
    let io = |source| RecordError::Io {
        path: path.display().to_string(),
        source,
    };
    let mut record = match Record::load(view, path)? {
        Some(record) => record,
        None => Record::new(view).map_err(io)?,
    };
    let mut steps = Vec::new();
    let mut tried: Vec<Wanted> = Vec::new();
    for _ in 0..ROUNDS {
        let mut wanted: Vec<Wanted> = checks::run(view, only)
            .into_iter()
            .filter(|finding| matches!(finding.status, Status::Advice | Status::Problem))
            .flat_map(|finding| finding.fixes)
            .collect();
        wanted.retain(|wanted| !tried.contains(wanted));
        if wanted.is_empty() {
            break;
        }
        for one in wanted {
            steps.extend(change(view, &mut record, path, &one).map_err(io)?);
            tried.push(one);
        }
    }
    Ok(steps)
}

/// Makes one change; `None` when it is as wanted already.
fn change(
    view: &View<'_>,
    record: &mut Record,
    path: &Path,
    wanted: &Wanted,
) -> std::io::Result<Option<Step>> {
    let Wanted { setting, value } = wanted;
    let mut step = Step {
        setting: setting.name(),
        before: String::new(),
        after: String::new(),
        refused: String::new(),
    };
    match setting.read(view) {
        Ok(before) if same(&before, value) => return Ok(None),
        Ok(before) => step.before = before,
        Err(error) => {
            step.after = "unknown".to_owned();
            step.refused = error.to_string();
            return Ok(Some(step));
        }
    }
    let kept = record.clone();
    record.plan(setting, &step.before, value);
    record.save(path)?;
    let written = setting.write(view, value);
    let after = setting.read(view).unwrap_or_else(|_| value.clone());
    step.after = after.clone();
    match written {
        _ if same(&after, &step.before) => {
            *record = kept;
            step.refused = match written {
                Err(error) => error.to_string(),
                Ok(()) => format!("the kernel did not take {value}"),
            };
        }
        Err(error) => step.refused = error.to_string(),
        Ok(()) => {}
    }
    if let Some(change) = record
        .changes
        .iter_mut()
        .find(|change| change.setting == *setting)
        && step.refused.is_empty()
    {
        change.after = after;
    }
    record.save(path)?;
    Ok(Some(step))
}

/// Restores what was there before, the last change first, and forgets it. A setting that somebody changed since stays, and stays
/// in the record, unless `force`.
///
/// # Errors
/// When the record cannot be read or written.
pub fn undo(view: &View<'_>, path: &Path, force: bool) -> Result<Vec<Step>, RecordError> {
    let io = |source| RecordError::Io {
        path: path.display().to_string(),
        source,
    };
    let Some(mut record) = Record::load(view, path)? else {
        // Of an earlier start of the machine, if there is one: nothing of it is left.
        let _ = std::fs::remove_file(path);
        return Ok(Vec::new());
    };
    let mut steps = Vec::new();
    let mut left = Vec::new();
    while let Some(change) = record.changes.pop() {
        let mut step = Step {
            setting: change.setting.name(),
            before: String::new(),
            after: String::new(),
            refused: String::new(),
        };
        match change.setting.read(view) {
            Err(error) => step.refused = error.to_string(),
            // An apply that was cut off before it changed this, or an undo after it had.
            Ok(now) if same(&now, &change.before) => continue,
            Ok(now) if same(&now, &change.after) || force => {
                let written = change.setting.write(view, &change.before);
                step.after = change.setting.read(view).unwrap_or_default();
                if !same(&step.after, &change.before) {
                    step.refused = match written {
                        Err(error) => error.to_string(),
                        Ok(()) => format!("the kernel did not take {}", change.before),
                    };
                }
                step.before = now;
            }
            Ok(now) => {
                step.refused = format!(
                    "somebody changed it since ({} had become {}); --force restores it all the same",
                    change.before, change.after
                );
                step.after = now;
            }
        }
        if !step.refused.is_empty() {
            left.push(change);
        }
        steps.push(step);
        // After each: an end in between restores the rest the next time.
        let mut rest = record.clone();
        rest.changes.extend(left.iter().rev().cloned());
        rest.save(path).map_err(io)?;
    }
    record.changes = left.into_iter().rev().collect();
    record.save(path).map_err(io)?;
    Ok(steps)
}
