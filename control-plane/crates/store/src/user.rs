/// A user that may register: the hashes of the password that there are, in hexadecimal digits.
#[derive(Clone, PartialEq, Eq)]
pub struct UserRecord {
    /// The name, which is the user part of the address-of-record.
    pub username: String,
    /// For MD5.
    pub md5: Option<String>,
    /// For SHA-256.
    pub sha256: Option<String>,
    /// For SHA-512-256.
    pub sha512_256: Option<String>,
}

impl std::fmt::Debug for UserRecord {
    /// The name alone: a hash is as good as its password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "UserRecord({:?}, ***)", self.username)
    }
}
