use super::{Dialog, DialogError, DialogState};
use crate::message::Message;

/// The dialogs that one INVITE of ours makes: proxies fork, and each fork answers with a To tag of its own
/// (RFC 3261 §13.2.2).
#[derive(Clone, Debug)]
pub struct DialogSet {
    invite: Message,
    forks_max: usize,
    forks: Vec<Fork>,
}

#[derive(Clone, Debug)]
struct Fork {
    remote_tag: Box<str>,
    /// `None` once the user has taken it.
    dialog: Option<Dialog>,
}

/// What a response to the INVITE did.
#[derive(Debug)]
pub enum SetChange<'a> {
    /// A response that makes no dialog: 100, a failure, or one without a To tag.
    None,
    /// A fork that had not answered before.
    New(&'a mut Dialog),
    /// A further provisional response of a known fork.
    Early(&'a mut Dialog),
    /// A 2xx of a fork that was early. If another fork is confirmed already, the user keeps one of them and ends
    /// this one: ACK, then BYE (§13.2.2.4).
    Confirmed(&'a mut Dialog),
    /// A 2xx of a fork that was confirmed already: send [`Dialog::repeat_ack`].
    Repeated(&'a mut Dialog),
    /// A response of a fork whose dialog was [taken](DialogSet::take) out. Its owner may have an ACK to repeat.
    Taken,
}

impl DialogSet {
    /// The set of an INVITE as it was given to the transaction layer. Forks beyond `forks_max` are refused.
    pub fn new(invite: Message, forks_max: usize) -> Self {
        Self {
            invite,
            forks_max,
            forks: Vec::new(),
        }
    }

    /// Takes a response to the INVITE.
    ///
    /// # Errors
    /// [`DialogError::TooManyForks`] and what the response lacks. Such a response is as if it had not come; the
    /// repetition of a 2xx ends after 64*T1.
    pub fn handle_response(&mut self, response: &Message) -> Result<SetChange<'_>, DialogError> {
        let status = response.status().unwrap_or_default();
        let Some(tag) = response.to()?.tag().filter(|_| (101..300).contains(&status)) else {
            return Ok(SetChange::None);
        };
        let Some(place) = self.place(tag) else {
            if self.forks.len() >= self.forks_max {
                return Err(DialogError::TooManyForks);
            }
            let dialog = Dialog::of_client(&self.invite, response)?;
            let fork = self.forks.push_mut(Fork {
                remote_tag: tag.into(),
                dialog: None,
            });
            return Ok(SetChange::New(fork.dialog.insert(dialog)));
        };
        let Some(dialog) = &mut self.forks[place].dialog else {
            return Ok(SetChange::Taken);
        };
        if dialog.state() == DialogState::Confirmed {
            return Ok(if status >= 200 {
                SetChange::Repeated(dialog)
            } else {
                SetChange::None
            });
        }
        dialog.handle_response(response)?;
        Ok(if status >= 200 {
            SetChange::Confirmed(dialog)
        } else {
            SetChange::Early(dialog)
        })
    }

    /// The dialog with the fork of that To tag.
    pub fn find(&mut self, remote_tag: &str) -> Option<&mut Dialog> {
        let place = self.place(remote_tag)?;
        self.forks[place].dialog.as_mut()
    }

    /// All dialogs that were not taken, in the order in which the forks first answered.
    pub fn iter(&self) -> impl Iterator<Item = &Dialog> {
        self.forks.iter().filter_map(|fork| fork.dialog.as_ref())
    }

    /// Takes one dialog out, to keep it beyond the INVITE.
    pub fn take(&mut self, remote_tag: &str) -> Option<Dialog> {
        let place = self.place(remote_tag)?;
        self.forks[place].dialog.take()
    }

    /// The INVITE.
    pub fn invite(&self) -> &Message {
        &self.invite
    }

    fn place(&self, remote_tag: &str) -> Option<usize> {
        self.forks.iter().position(|fork| &*fork.remote_tag == remote_tag)
    }
}
