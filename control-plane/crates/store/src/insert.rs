/// How many rows a statement can have. Few sizes, so that each statement is prepared once; the largest leaves both databases
/// most of the parameters that they allow (32,766 and 65,535).
pub(crate) const ROWS: [usize; 7] = [64, 32, 16, 8, 4, 2, 1];

/// One `INSERT … ON CONFLICT DO UPDATE` of several rows, for both databases and all of [`ROWS`]. The first column is the key;
/// PostgreSQL wants each key once in a statement.
#[derive(Debug)]
pub(crate) struct Insert {
    /// `?`: SQLite looks names up one after the other, and `$1` is a name to it.
    sqlite: [String; ROWS.len()],
    /// `$1`, `$2` and so on.
    postgresql: [String; ROWS.len()],
}

impl Insert {
    /// `update` says what a column becomes when the key is there already.
    pub(crate) fn new(table: &str, columns: &[&str], update: impl Fn(&str) -> String) -> Self {
        let names = columns.join(", ");
        let updates = columns[1..]
            .iter()
            .map(|column| format!("{column} = {}", update(column)));
        let updates = updates.collect::<Vec<_>>().join(", ");
        let statement = |rows: usize, parameter: &dyn Fn(usize) -> String| {
            let row = |row: usize| {
                let row = (1..=columns.len()).map(|column| parameter(row * columns.len() + column));
                format!("({})", row.collect::<Vec<_>>().join(", "))
            };
            let rows = (0..rows).map(row).collect::<Vec<_>>().join(", ");
            format!(
                "INSERT INTO {table} ({names}) VALUES {rows} ON CONFLICT ({}) DO UPDATE SET {updates}",
                columns[0]
            )
        };
        Self {
            sqlite: ROWS.map(|rows| statement(rows, &|_| "?".to_owned())),
            postgresql: ROWS.map(|rows| statement(rows, &|number| format!("${number}"))),
        }
    }

    /// The statement that takes the most of `left` rows, and how many it takes. `left` is not zero.
    pub(crate) fn of(&self, left: usize, postgresql: bool) -> (&str, usize) {
        let size = ROWS
            .iter()
            .position(|&rows| rows <= left)
            .unwrap_or(ROWS.len() - 1);
        let statements = if postgresql {
            &self.postgresql
        } else {
            &self.sqlite
        };
        (&statements[size], ROWS[size])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_taken_by_the_largest_statement_that_they_fill() {
        let insert = Insert::new("t", &["k", "v"], |column| format!("excluded.{column}"));
        let mut left = 141;
        let mut taken = Vec::new();
        while left > 0 {
            let (_, rows) = insert.of(left, false);
            taken.push(rows);
            left -= rows;
        }
        assert_eq!(taken, [64, 64, 8, 4, 1]);
    }

    #[test]
    fn both_databases_get_their_own_parameters() {
        let insert = Insert::new("t", &["k", "v"], |column| format!("excluded.{column}"));
        assert_eq!(
            insert.of(1, false).0,
            "INSERT INTO t (k, v) VALUES (?, ?) ON CONFLICT (k) DO UPDATE SET v = excluded.v"
        );
        let eight = insert.of(9, true).0;
        assert!(eight.contains("VALUES ($1, $2), ($3, $4), "), "{eight}");
        assert!(eight.contains("($15, $16) ON"), "{eight}");
    }
}
