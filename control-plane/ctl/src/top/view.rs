use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Row, Table, TableState};

use super::state::State;
use crate::calls;
use crate::table::printable;

/// Widths of the columns of [`calls::HEAD`]; the last three give way first.
const WIDTHS: [Constraint; 8] = [
    Constraint::Length(26),
    Constraint::Length(9),
    Constraint::Length(8),
    Constraint::Fill(2),
    Constraint::Fill(2),
    Constraint::Fill(2),
    Constraint::Length(10),
    Constraint::Fill(1),
];

/// Draws the view: figures, calls, keys.
pub fn draw(frame: &mut Frame<'_>, state: &mut State, now_unix_ms: u64) {
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(3), Constraint::Min(1), Constraint::Length(1)])
            .areas(frame.area());
    let calls = state.calls();
    frame.render_widget(Paragraph::new(figures(state)), head);

    let rows = calls.iter().map(|call| {
        let style = match calls::state(call) {
            "answered" => Style::new().fg(Color::Green),
            "ending" => Style::new().fg(Color::DarkGray),
            _ => Style::new().fg(Color::Yellow),
        };
        Row::new(calls::row(call, now_unix_ms)).style(style)
    });
    let table = Table::new(rows, WIDTHS)
        .header(Row::new(calls::HEAD).style(Style::new().add_modifier(Modifier::REVERSED)))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut place = TableState::default().with_selected((!calls.is_empty()).then_some(state.selected));
    frame.render_stateful_widget(table, body, &mut place);

    let keys = format!("q quit  ↑↓ PgUp PgDn move  s order: {}", state.order.as_str());
    frame.render_widget(Paragraph::new(keys).style(Style::new().fg(Color::DarkGray)), foot);
}

fn figures(state: &State) -> Vec<Line<'static>> {
    let told = &state.standing;
    let new_calls = match told.refusing.as_str() {
        "" => Line::from("new calls taken"),
        reason => {
            Line::from(format!("NEW CALLS REFUSED: {}", printable(reason))).style(Style::new().fg(Color::Red))
        }
    };
    let listing = if state.roster.is_complete() {
        ""
    } else {
        ", listing"
    };
    let missed = match state.roster.missed() {
        0 => String::new(),
        missed => format!(", {missed} messages missed"),
    };
    vec![
        Line::from(format!(
            "Ringpath {}  up {}  media nodes {}",
            printable(&told.version),
            calls::duration(told.uptime_s),
            told.media_nodes_up
        )),
        Line::from(format!(
            "calls {} of {}{listing}{missed}  {} attempted/s  {} answered/s",
            told.calls, told.calls_max, state.attempted_per_s, state.answered_per_s
        )),
        new_calls,
    ]
}

#[cfg(test)]
mod tests {
    use proto::admin_v1::{DescribeResponse, GetActiveCallsResponse};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::calls::tests::{NOW, answered, ringing};
    use crate::top::state::Key;

    fn screen(state: &mut State, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, state, NOW)).unwrap();
        let buffer = terminal.backend().buffer();
        let line = |y| {
            let cells = (0..width).map(|x| buffer[(x, y)].symbol());
            format!("{}\n", cells.collect::<String>().trim_end())
        };
        (0..height).map(line).collect()
    }

    fn state() -> State {
        let mut state = State::default();
        state.stand(DescribeResponse {
            version: "0.1.0".into(),
            uptime_s: 3_723,
            calls: 2,
            calls_max: 5_000,
            media_nodes_up: 1,
            ..DescribeResponse::default()
        });
        state.roster.apply(GetActiveCallsResponse {
            restart: true,
            calls: vec![answered(), ringing()],
            complete: true,
            ..Default::default()
        });
        state
    }

    #[test]
    fn the_screen() {
        assert_eq!(screen(&mut state(), 120, 8), include_str!("../../tests/top.txt"));
    }

    #[test]
    fn a_refusal_and_what_was_missed_are_seen() {
        let mut state = state();
        state.standing.refusing = "drained by an operator".into();
        state.roster.apply(GetActiveCallsResponse {
            restart: true,
            missed: 9,
            ..Default::default()
        });
        let screen = screen(&mut state, 100, 8);
        assert!(
            screen.contains("NEW CALLS REFUSED: drained by an operator"),
            "{screen}"
        );
        assert!(screen.contains(", listing, 9 messages missed"), "{screen}");
    }

    #[test]
    fn every_size_of_terminal_can_be_drawn() {
        for (width, height) in [(1, 1), (10, 3), (20, 4), (40, 100), (300, 5)] {
            let mut state = state();
            state.press(Key::PageDown);
            screen(&mut state, width, height);
        }
    }
}
