/// What the choice needs to know of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// The node's place in the configuration.
    pub(crate) index: usize,
    /// Calls that it can still take: what it said, less what was sent there since.
    pub(crate) free: u64,
}

/// The order in which to try `candidates`: most free capacity first; nodes with the same take turns, which `turn`
/// (any growing number) decides. Nodes without free capacity come last: what they said may be a second old, and a
/// refusal costs less than a call.
pub(crate) fn order(candidates: &mut [Candidate], turn: u64) {
    let count = candidates.len().max(1) as u64;
    candidates.sort_by_key(|candidate| {
        let place = (candidate.index as u64 + count - turn % count) % count;
        (std::cmp::Reverse(candidate.free), place)
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ordered(free: &[u64], turn: u64) -> Vec<usize> {
        let mut candidates: Vec<_> = free
            .iter()
            .enumerate()
            .map(|(index, &free)| Candidate { index, free })
            .collect();
        order(&mut candidates, turn);
        candidates.iter().map(|candidate| candidate.index).collect()
    }

    #[test]
    fn the_node_with_most_free_capacity_is_first() {
        assert_eq!(ordered(&[10, 30, 20], 0), [1, 2, 0]);
        assert_eq!(ordered(&[10, 0, 20], 7), [2, 0, 1]);
        assert_eq!(ordered(&[], 7), [0usize; 0]);
    }

    #[test]
    fn equal_nodes_take_turns() {
        let firsts: Vec<_> = (0..6).map(|turn| ordered(&[5, 5, 5], turn)[0]).collect();
        assert_eq!(firsts, [0, 1, 2, 0, 1, 2]);
    }
}
