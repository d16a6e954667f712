use std::fmt;

use super::Account;

/// Who we are at those that may challenge us, and in which realms.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The name.
    pub username: String,
    /// The password.
    pub password: String,
    /// The realms that the password is for; none: whichever asks.
    pub realms: Vec<String>,
}

impl Login {
    /// The account in `realm`: of the first that names it, else of the first that names none.
    pub fn of_realm<'a>(logins: &'a [Self], realm: &str) -> Option<Account<'a>> {
        let named = |login: &&Self| login.realms.iter().any(|name| name == realm);
        let login = logins
            .iter()
            .find(named)
            .or_else(|| logins.iter().find(|login| login.realms.is_empty()))?;
        Some(Account {
            username: &login.username,
            password: &login.password,
        })
    }
}

impl fmt::Debug for Login {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({:?}, ***, {:?})", self.username, self.realms)
    }
}
