use sdp::{Origin, Session, rewrite};

use crate::our_lines;

fn origin_line(body: &str) -> &str {
    body.lines().find(|line| line.starts_with("o=")).unwrap()
}

/// RFC 3264 §8: the same description has the same version, a changed one the next; id and address stay.
#[test]
fn the_version_grows_with_every_change_and_only_then() {
    let text = |direction: &str, version: u32| {
        format!(
            "v=0\r\no=- 1 {version} IN IP4 10.0.0.5\r\ns=-\r\nc=IN IP4 10.0.0.5\r\nt=0 0\r\n\
             m=audio 4000 RTP/AVP 0\r\na={direction}\r\n"
        )
    };
    let mut origin = Origin::new(400);
    let mut print = |direction: &str, version: u32| {
        let session = Session::parse(text(direction, version).as_bytes()).unwrap();
        origin_line(&rewrite(&session, &our_lines(&session), &[], &mut origin)).to_owned()
    };
    assert_eq!(print("sendrecv", 1), "o=- 100 100 IN IP4 198.51.100.1");
    assert_eq!(
        print("sendrecv", 2),
        "o=- 100 100 IN IP4 198.51.100.1",
        "nothing changed but the sender's version"
    );
    assert_eq!(print("sendonly", 3), "o=- 100 101 IN IP4 198.51.100.1");
    assert_eq!(print("sendrecv", 4), "o=- 100 102 IN IP4 198.51.100.1");
}
