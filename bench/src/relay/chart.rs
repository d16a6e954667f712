//! Bar charts as SVG.

use std::fmt::Write as _;

const WIDTH: f64 = 760.0;
const LEFT: f64 = 210.0;
const RIGHT: f64 = 110.0;
const BAR: f64 = 18.0;
const STEP: f64 = 26.0;
const TOP: f64 = 44.0;

/// One bar with the range of the rounds.
#[derive(Clone, Debug)]
pub struct Bar {
    /// Left of it.
    pub label: String,
    /// Its length.
    pub value: f64,
    /// Drawn as a line through its end.
    pub range: [f64; 2],
    /// Ours are drawn darker.
    pub is_ours: bool,
}

/// A chart of horizontal bars from zero. `unit` stands behind every number.
pub fn bars(title: &str, unit: &str, bars: &[Bar]) -> String {
    let height = TOP + bars.len() as f64 * STEP + 12.0;
    let longest = bars
        .iter()
        .map(|bar| bar.value.max(bar.range[1]))
        .fold(f64::MIN_POSITIVE, f64::max);
    let x = |value: f64| LEFT + value / longest * (WIDTH - LEFT - RIGHT);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"12\" y=\"24\" font-size=\"15\" font-weight=\"bold\">{}</text>\n",
        escape(title)
    );
    for (place, bar) in bars.iter().enumerate() {
        let y = TOP + place as f64 * STEP;
        let middle = y + BAR / 2.0;
        let fill = if bar.is_ours { "#1f5fa8" } else { "#9db4c9" };
        let (end, low, high) = (x(bar.value), x(bar.range[0]), x(bar.range[1]));
        // Writing to a String does not fail.
        let _ = write!(
            svg,
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n\
             <rect x=\"{LEFT}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{BAR}\" fill=\"{fill}\"/>\n\
             <path d=\"M{low:.1} {middle:.1}H{high:.1}\" stroke=\"#222\" stroke-width=\"1.5\"/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\">{} {}</text>\n",
            LEFT - 8.0,
            y + 14.0,
            escape(&bar.label),
            end - LEFT,
            end.max(high) + 6.0,
            y + 14.0,
            number(bar.value),
            escape(unit),
        );
    }
    svg + "</svg>\n"
}

/// Whole, but for small values.
fn number(value: f64) -> String {
    if value < 10.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.0}")
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_bar_fills_the_width_and_text_is_escaped() {
        let bar = |label: &str, value| Bar {
            label: label.to_owned(),
            value,
            range: [value, value],
            is_ours: false,
        };
        let svg = bars("a < b", "ns", &[bar("one", 50.0), bar("two", 100.0)]);
        assert!(svg.contains("a &lt; b") && svg.ends_with("</svg>\n"));
        assert!(
            svg.contains("width=\"440.0\"") && svg.contains("width=\"220.0\""),
            "{svg}"
        );
        assert!(svg.contains(">100 ns<"));
    }

    #[test]
    fn no_bars_make_an_empty_chart() {
        assert!(bars("nothing", "ns", &[]).contains("nothing"));
    }
}
