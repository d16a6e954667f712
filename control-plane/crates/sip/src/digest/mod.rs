//! Digest authentication (RFC 7616) as SIP uses it (RFC 3261 §22, RFC 8760): both sides.
//!
//! - [`Authenticator`] challenges requests and checks their credentials. Nonces are stateless until they have been
//!   used with success once; from then on their counts are remembered, in a table with a limit.
//! - [`Challenges`] makes the credentials for responses that challenge a request of ours, one after the other, with the
//!   [`Login`] of each realm; [`answer`] those for one response and one account.
//!
//! Sans-IO: time, randomness and users are arguments.

mod algorithm;
mod answer;
mod auth_params;
mod authenticator;
mod challenge;
mod challenges;
mod credentials;
mod guesses;
mod login;
mod nonce;
mod replay;
mod response;

pub use algorithm::{Algorithm, Ha1};
pub use answer::{Account, AnswerError, answer};
pub use auth_params::AuthParams;
pub use authenticator::{Authenticator, Config, Front, Refusal, Users};
pub use challenge::Challenge;
pub use challenges::Challenges;
pub use credentials::{Credentials, CredentialsError};
pub use login::Login;
pub use response::{Qop, Request, request_digest};
