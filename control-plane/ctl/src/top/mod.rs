//! The live view.

mod state;
mod view;

use std::time::Duration;

use proto::admin_v1::DescribeRequest;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use tokio::sync::mpsc;

use crate::commands::{calls, now_unix_ms};
use crate::connection::Client;
use crate::error::Error;
use state::{Key, State};

/// How often the figures at the top are asked for, and the durations move on.
const TICK: Duration = Duration::from_secs(1);

/// How long the terminal is waited for at a time, so that the thread that reads it ends with the view.
const KEY_WAIT: Duration = Duration::from_millis(100);

/// Keys that may wait.
const KEYS_MAX: usize = 16;

/// Shows the calls until somebody leaves or the control plane stops.
///
/// # Errors
/// When there is no terminal, or the control plane stops.
pub async fn run(mut client: Client) -> Result<(), Error> {
    let mut messages = calls(&mut client, true, String::new()).await?;
    let mut terminal = ratatui::try_init()?;
    let mut state = State::default();
    let mut keys = keyboard();
    let mut tick = tokio::time::interval(TICK);
    let result = loop {
        if let Err(error) = terminal.draw(|frame| view::draw(frame, &mut state, now_unix_ms())) {
            break Err(error.into());
        }
        tokio::select! {
            message = messages.message() => match message {
                Ok(Some(message)) => state.roster.apply(message),
                Ok(None) => break Err(tonic::Status::unavailable("the control plane stopped").into()),
                Err(status) => break Err(status.into()),
            },
            _ = tick.tick() => match client.describe(DescribeRequest {}).await {
                Ok(told) => state.stand(told.into_inner()),
                Err(status) => break Err(status.into()),
            },
            key = keys.recv() => match key {
                Some(key) => {
                    if state.press(key) {
                        break Ok(());
                    }
                }
                None => break Ok(()),
            },
        }
    };
    ratatui::restore();
    result
}

/// Keys as they are pressed, from a thread that ends when nobody listens, or when the terminal is gone.
fn keyboard() -> mpsc::Receiver<Key> {
    let (tell, keys) = mpsc::channel(KEYS_MAX);
    std::thread::spawn(move || {
        while !tell.is_closed() {
            let event = match event::poll(KEY_WAIT) {
                Ok(true) => event::read(),
                Ok(false) => continue,
                Err(_) => return,
            };
            let key = match event {
                Ok(Event::Key(key)) if key.kind == KeyEventKind::Press => key,
                Ok(Event::Resize(..)) => {
                    if tell.blocking_send(Key::Redraw).is_err() {
                        return;
                    }
                    continue;
                }
                Ok(_) => continue,
                Err(_) => return,
            };
            let key = match key.code {
                KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Key::Quit,
                KeyCode::Char('q') | KeyCode::Esc => Key::Quit,
                KeyCode::Down | KeyCode::Char('j') => Key::Down,
                KeyCode::Up | KeyCode::Char('k') => Key::Up,
                KeyCode::PageDown => Key::PageDown,
                KeyCode::PageUp => Key::PageUp,
                KeyCode::Char('s') => Key::Sort,
                _ => continue,
            };
            if tell.blocking_send(key).is_err() {
                return;
            }
        }
    });
    keys
}
