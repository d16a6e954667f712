use std::fmt;

macro_rules! methods {
    ($($variant:ident $name:literal $rfc:literal;)*) => {
        /// A request method. The set is open: any token is a method, and one that is not listed is
        /// [`Method::Other`]. Methods compare with case (RFC 3261 §7.1).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Method<'a> {
            $(#[doc = concat!("`", $name, "`, ", $rfc, ".")] $variant,)*
            /// Any other token.
            Other(&'a str),
        }

        impl<'a> Method<'a> {
            /// The method of that name.
            pub fn of(name: &'a str) -> Self {
                match name {
                    $($name => Self::$variant,)*
                    other => Self::Other(other),
                }
            }

            /// The name as it stands in a message.
            pub const fn as_str(&self) -> &'a str {
                match self {
                    $(Self::$variant => $name,)*
                    Self::Other(name) => name,
                }
            }
        }
    };
}

methods! {
    Invite "INVITE" "RFC 3261";
    Ack "ACK" "RFC 3261";
    Bye "BYE" "RFC 3261";
    Cancel "CANCEL" "RFC 3261";
    Options "OPTIONS" "RFC 3261";
    Register "REGISTER" "RFC 3261";
    Prack "PRACK" "RFC 3262";
    Update "UPDATE" "RFC 3311";
    Info "INFO" "RFC 6086";
    Refer "REFER" "RFC 3515";
    Subscribe "SUBSCRIBE" "RFC 6665";
    Notify "NOTIFY" "RFC 6665";
    Message "MESSAGE" "RFC 3428";
    Publish "PUBLISH" "RFC 3903";
}

impl fmt::Display for Method<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
