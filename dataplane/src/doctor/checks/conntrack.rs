use crate::doctor::finding::{Finding, Status};
use crate::doctor::view::{MediaRange, View};

const DIRECTORY: &str = "/proc/sys/net/netfilter";
const WHY: &str = "an entry for each flow costs time a packet, and a full table drops media";

/// Whether the firewall keeps an entry for each media flow.
pub fn conntrack(view: &View<'_>) -> Vec<Finding> {
    let finding = Finding::new("conntrack", "media ports", WHY);
    if !view.is_there(&format!("{DIRECTORY}/nf_conntrack_max")) {
        return vec![finding.ok("nf_conntrack is not loaded")];
    }
    let (count, most) = match (
        view.number(&format!("{DIRECTORY}/nf_conntrack_count")),
        view.number(&format!("{DIRECTORY}/nf_conntrack_max")),
    ) {
        (Ok(count), Ok(most)) => (count, most),
        (Err(error), _) | (_, Err(error)) => return vec![finding.unknown(error)],
    };
    let mut findings = vec![table(count, most)];
    if view.media.is_empty() {
        findings.push(finding.unknown("no configuration names the media ports (--config)"));
        return findings;
    }
    findings.push(match (tracked(view), view.calls.ruleset()) {
        (Some(tracked), _) if tracked > 0 => finding.bad(
            Status::Problem,
            format!("{tracked} entries on media ports"),
            "none",
            notrack(&view.media),
        ),
        (_, Ok(ruleset)) if view.media.iter().all(|range| is_untracked(&ruleset, range)) => {
            finding.ok("a notrack rule covers them")
        }
        (Some(_), _) if count == 0 => finding.ok("loaded, but nothing is tracked in this network namespace"),
        (_, Ok(ruleset)) if !tracks(&ruleset) && count == 0 => {
            finding.ok("loaded, but no rule asks for it in this network namespace")
        }
        (_, Ok(_)) => finding.bad(
            Status::Advice,
            format!("nothing on media ports yet, and no notrack rule for them; {count} entries in all"),
            "a notrack rule",
            notrack(&view.media),
        ),
        (tracked, Err(reason)) => {
            let entries = match tracked {
                Some(_) => "no entry on media ports now",
                None => "/proc/net/nf_conntrack cannot be read",
            };
            finding.unknown(format!(
                "{entries}, and whether a notrack rule covers them cannot be read: {reason}"
            ))
        }
    });
    findings
}

fn table(count: u64, most: u64) -> Finding {
    let finding = Finding::new(
        "conntrack",
        "table",
        "a full table drops the packets of new flows",
    );
    let found = format!("{count} of {most} entries");
    match count * 5 > most * 4 {
        false => finding.ok(found),
        true => finding.bad(
            Status::Problem,
            found,
            "less than four fifths",
            format!(
                "sysctl -w net.netfilter.nf_conntrack_max={}",
                most.saturating_mul(4)
            ),
        ),
    }
}

/// UDP entries with a media port; `None` when the kernel does not show its entries.
fn tracked(view: &View<'_>) -> Option<usize> {
    let text = view.read("/proc/net/nf_conntrack").ok()?;
    let on_media = |line: &&str| {
        line.split_whitespace().any(|word| word == "udp")
            && line
                .split_whitespace()
                .filter_map(|word| {
                    word.strip_prefix("dport=")
                        .or_else(|| word.strip_prefix("sport="))
                })
                .filter_map(|port| port.parse::<u16>().ok())
                .any(|port| {
                    view.media
                        .iter()
                        .any(|range| (range.first..=range.last).contains(&port))
                })
    };
    Some(text.lines().filter(on_media).count())
}

/// Whether rules take all of the range's ports out of tracking in both directions: `udp dport 20000-29999 … notrack`, and
/// the same with `sport` for what the node sends.
fn is_untracked(ruleset: &str, range: &MediaRange) -> bool {
    ["dport", "sport"]
        .iter()
        .all(|ports| has_notrack(ruleset, ports, range))
}

fn has_notrack(ruleset: &str, ports: &str, range: &MediaRange) -> bool {
    ruleset.lines().any(|line| {
        let mut words = line
            .split(|c: char| c.is_whitespace() || "{},".contains(c))
            .filter(|word| !word.is_empty());
        line.contains("notrack")
            && line.contains("udp")
            && line.contains(ports)
            && words.any(|word| {
                word.split_once('-').is_some_and(|(first, last)| {
                    let (first, last): (Option<u16>, Option<u16>) = (first.parse().ok(), last.parse().ok());
                    first.is_some_and(|first| first <= range.first)
                        && last.is_some_and(|last| last >= range.last)
                })
            })
    })
}

/// Whether any rule makes the kernel track.
fn tracks(ruleset: &str) -> bool {
    ["ct ", "masquerade", "snat", "dnat", "redirect", "type nat"]
        .iter()
        .any(|word| ruleset.contains(word))
}

fn notrack(media: &[MediaRange]) -> String {
    let ranges = whole(media);
    let ranges: Vec<String> = ranges
        .iter()
        .map(|(first, last)| format!("{first}-{last}"))
        .collect();
    let ports = ranges.join(", ");
    format!(
        "nft add table inet ringpath; \
         nft add chain inet ringpath in '{{ type filter hook prerouting priority raw; }}'; \
         nft add chain inet ringpath out '{{ type filter hook output priority raw; }}'; \
         nft add rule inet ringpath in udp dport {{ {ports} }} notrack; \
         nft add rule inet ringpath out udp sport {{ {ports} }} notrack"
    )
}

/// The ranges in their order, those that overlap or touch as one: a set of nftables takes no port twice.
fn whole(media: &[MediaRange]) -> Vec<(u16, u16)> {
    let mut ranges: Vec<(u16, u16)> = media.iter().map(|range| (range.first, range.last)).collect();
    ranges.sort_unstable();
    let mut whole: Vec<(u16, u16)> = Vec::new();
    for (first, last) in ranges {
        match whole.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => whole.push((first, last)),
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_names_each_port_once() {
        let range = |first, last| MediaRange {
            address: "192.0.2.1".parse().expect("an address"),
            first,
            last,
        };
        let media = [
            range(20_000, 20_999),
            range(40_000, 49_999),
            range(20_000, 20_999),
            range(20_500, 29_999),
            range(30_000, 30_999),
            range(60_000, 65_535),
            range(65_000, 65_535),
        ];
        let command = notrack(&media);
        assert!(
            command.contains("udp dport { 20000-30999, 40000-49999, 60000-65535 } notrack"),
            "{command}"
        );
    }
}
