use super::algorithm::Algorithm;

/// What credentials protect (RFC 7616 §3.4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Qop {
    /// `auth`: method and URI.
    Auth,
    /// `auth-int`: the body, too.
    AuthInt,
}

impl Qop {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::AuthInt => "auth-int",
        }
    }

    /// Reads a name, without regard to case.
    pub fn of(name: &str) -> Option<Self> {
        [Self::Auth, Self::AuthInt]
            .into_iter()
            .find(|qop| qop.name().eq_ignore_ascii_case(name))
    }
}

/// What the digest is over, of the request.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The method, upper case.
    pub method: &'a str,
    /// The URI in the credentials.
    pub uri: &'a str,
    /// The body, for `auth-int`.
    pub body: &'a [u8],
}

/// The `response` of RFC 7616 §3.4.1, in lower-case hexadecimal digits. `ha1` are the digits of H(A1). Without
/// `protection` (qop, count, cnonce) it is that of RFC 2069, which some peers still ask for.
pub fn request_digest(
    algorithm: Algorithm,
    ha1: &str,
    nonce: &str,
    protection: Option<(Qop, u32, &str)>,
    request: Request<'_>,
) -> String {
    let (method, uri) = (request.method.as_bytes(), request.uri.as_bytes());
    let ha2 = match protection {
        Some((Qop::AuthInt, ..)) => {
            let body = algorithm.hash(&[request.body]);
            algorithm.hash(&[method, uri, body.as_bytes()])
        }
        _ => algorithm.hash(&[method, uri]),
    };
    match protection {
        None => algorithm.hash(&[ha1.as_bytes(), nonce.as_bytes(), ha2.as_bytes()]),
        Some((qop, count, cnonce)) => algorithm.hash(&[
            ha1.as_bytes(),
            nonce.as_bytes(),
            format!("{count:08x}").as_bytes(),
            cnonce.as_bytes(),
            qop.name().as_bytes(),
            ha2.as_bytes(),
        ]),
    }
}

#[cfg(test)]
mod tests {
    use super::super::algorithm::Ha1;
    use super::*;

    /// RFC 7616 §3.9.1; the value for SHA-512-256 is from another implementation, for the RFC's own example of it uses
    /// a hash that is not SHA-512/256 (its errata say so).
    #[test]
    fn the_examples_of_rfc_7616_hold() {
        let request = Request {
            method: "GET",
            uri: "/dir/index.html",
            body: b"",
        };
        let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
        for (algorithm, expected) in [
            (Algorithm::Md5, "8ca523f5e9506fed4657c9700eebdbec"),
            (
                Algorithm::Sha256,
                "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
            ),
            (
                Algorithm::Sha512_256,
                "430d05014cecc49cab6fbe03176d41a1da86cbfe24a16580e22aaad928d960d0",
            ),
        ] {
            let ha1 = Ha1::new(algorithm, "Mufasa", "http-auth@example.org", "Circle of Life");
            let digest = request_digest(
                algorithm,
                &ha1.to_hex(),
                "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
                Some((Qop::Auth, 1, cnonce)),
                request,
            );
            assert_eq!(digest, expected, "{algorithm}");
        }
    }

    /// A REGISTER in every form; the values were made with Python's hashlib.
    #[test]
    fn sip_requests_hash_as_elsewhere() {
        let request = Request {
            method: "REGISTER",
            uri: "sip:example.com",
            body: b"v=0\r\n",
        };
        for (algorithm, auth, auth_int, without) in [
            (
                Algorithm::Md5,
                "220cb07d95dd3084ffdf38fb599bf611",
                "dc99cca5fc011a6073bcefa03b9c954f",
                "59a5b40843c5a062387a5516f3128210",
            ),
            (
                Algorithm::Sha256,
                "b4a828229dc4f92bfb948cbd6ecfafbae8a1dbe6bb1bc2f757f9e675bcca96e0",
                "9da0958d58bcdcefef1f230e8bd0758b0f81b0ccde1d234b5778430e3d6b028b",
                "d07ad159e19f85ea32f95e3c14fc359b660585feefab462cbf1d27f8ae630b94",
            ),
            (
                Algorithm::Sha512_256,
                "6b6dda04849532c570c8aabadad3956a238cbc1372f7e8acc1c4f44500434791",
                "16face3b0910770ef8a10812df78c8a8fa5068425eb3a299252b46fa0ad4ccc7",
                "e8bc5938f9c951f1c734795f18639ab9d5c790bcc84a35b3e7530ac3979aa1d3",
            ),
        ] {
            let ha1 = Ha1::new(algorithm, "alice", "example.com", "wonderland").to_hex();
            let of = |protection| {
                let nonce = "dcd98b7102dd2f0e8b11d0f600bfb0c093";
                request_digest(algorithm, &ha1, nonce, protection, request)
            };
            assert_eq!(of(Some((Qop::Auth, 1, "0a4f113b"))), auth);
            assert_eq!(of(Some((Qop::AuthInt, 1, "0a4f113b"))), auth_int);
            assert_eq!(of(None), without);
        }
    }
}
