use super::super::store::Secret;
use super::*;
use libsbox::model::secret::Places;

fn secret(name: &str, value: &str, places: Places) -> Arc<Secret> {
    Arc::new(Secret::for_a_test(name, &format!("sk-place-{name}"), value, places))
}

fn exchange(places: Places) -> Exchange<impl Fn() -> View> {
    Exchange::new("api.test", 443, move || View {
        own: vec![secret("own", "sk-real-value", places)],
        others: vec![secret("other", "sk-not-yours", Places::default())],
    })
}

fn up<V: Fn() -> View>(exchange: &mut Exchange<V>, text: &str) -> Result<String, Stop> {
    let (mut input, mut out) = (text.as_bytes().to_vec(), Vec::new());
    exchange.request(&mut input, &mut out)?;
    Ok(String::from_utf8(out).unwrap())
}

fn down<V: Fn() -> View>(exchange: &mut Exchange<V>, pieces: &[&[u8]]) -> Result<Vec<u8>, Stop> {
    let (mut input, mut out) = (Vec::new(), Vec::new());
    for piece in pieces {
        input.extend_from_slice(piece);
        exchange.answer(&mut input, &mut out)?;
    }
    Ok(out)
}

const GET: &str = "GET / HTTP/1.1\r\nHost: api.test\r\nAuthorization: Bearer sk-place-own\r\n\r\n";

#[test]
fn a_value_never_comes_back_whatever_the_server_answers() {
    let answers = [
        "HTTP/1.1 200 OK\r\nX-Key: sk-real-value\r\nContent-Length: 31\r\n\r\nyour key is sk-real-value, yes.",
        "HTTP/1.1 200 sk-real-value\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nab sk-rea\r\n9\r\nl-value c\r\n0\r\nT: sk-real-value\r\n\r\n",
        "HTTP/1.1 302 Found\r\nLocation: https://evil.test/?sk-real-value\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 100 Continue\r\nX: sk-real-value\r\n\r\nHTTP/1.0 200 OK\r\n\r\nsk-real-valuesk-real-value",
        "HTTP/1.1 200 OK\r\nsk-real-value: x\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 401 No\r\nSet-Cookie: a=\"sk-real-value\"\r\nContent-Type: application/octet-stream\r\n\r\n\0\0sk-real-value\0",
    ];
    for text in answers {
        for size in 1..text.len().min(40) {
            let mut exchange = exchange(Places::default());
            assert!(up(&mut exchange, GET).unwrap().contains("Bearer sk-real-value\r\n"));
            let pieces: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            let mut out = down(&mut exchange, &pieces).unwrap();
            let _ = exchange.server_closed(&mut out);
            assert!(memchr::memmem::find(&out, b"sk-real-value").is_none(), "{text} by {size}");
            assert!(memchr::memmem::find(&out, b"sk-place-own").is_some(), "{text} by {size}");
        }
    }
}

#[test]
fn a_random_server_gives_nothing_away() {
    let mut state = 0x5b0cu64;
    let mut below = |limit: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % limit
    };
    let words: [&[u8]; 12] = [
        b"HTTP/1.1 200 OK\r\n",
        b"Content-Length: 20\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"\r\n",
        b"sk-real-value",
        b"sk-real",
        b"-value",
        b"5\r\n",
        b"X: ",
        b"HTTP/1.1 101 S\r\n",
        b"Upgrade: websocket\r\n",
        b"0\r\n\r\n",
    ];
    for _ in 0..20_000 {
        let mut exchange = exchange(Places::default());
        up(&mut exchange, GET).unwrap();
        let mut out = Vec::new();
        let mut input = words[0].to_vec();
        for _ in 0..below(14) {
            input.extend(words[below(words.len())]);
            if below(2) == 0 && exchange.answer(&mut input, &mut out).is_err() {
                break;
            }
        }
        let _ = exchange.answer(&mut input, &mut out).and_then(|()| exchange.server_closed(&mut out));
        assert!(memchr::memmem::find(&out, b"sk-real-value").is_none(), "{}", String::from_utf8_lossy(&out));
    }
}

#[test]
fn requests_follow_each_other_and_each_is_looked_at() {
    let mut exchange = exchange(Places::default());
    let two = format!("{GET}GET /2 HTTP/1.1\r\nHost: evil.test\r\n\r\n");
    let (mut input, mut out) = (two.into_bytes(), Vec::new());
    exchange.request(&mut input, &mut out).unwrap();
    assert!(!String::from_utf8_lossy(&out).contains("/2"), "the second has to wait");
    down(&mut exchange, &[b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"]).unwrap();
    assert!(matches!(exchange.request(&mut input, &mut out), Err(Stop::Refuse(403, _))));
}

#[test]
fn nothing_can_be_smuggled_behind_a_request() {
    for text in [
        "POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: identity\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: api.test\r\nHost: evil.test\r\n\r\n",
        "GET https://evil.test/ HTTP/1.1\r\nHost: api.test\r\n\r\n",
        "CONNECT evil.test:443 HTTP/1.1\r\nHost: api.test\r\n\r\n",
        "TRACE / HTTP/1.1\r\nHost: api.test\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
    ] {
        assert!(matches!(up(&mut exchange(Places::default()), text), Err(Stop::Refuse(400..=403, _))), "{text}");
    }
}

#[test]
fn a_placeholder_of_another_host_never_leaves() {
    let head = "POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 20\r\n\r\n";
    let mut exchange_1 = exchange(Places::default());
    let out = up(&mut exchange_1, &format!("{head}env: sk-place-other!\n")).unwrap();
    assert!(out.ends_with("env: **************!"), "{out}");
    assert_eq!(exchange_1.notes.len(), 1);
    let text = "GET / HTTP/1.1\r\nHost: api.test\r\nX: sk-place-other\r\n\r\n";
    let Err(Stop::Refuse(403, why)) = up(&mut exchange(Places::default()), text) else { panic!() };
    assert_eq!(why, "the placeholder of 'other' was on its way to 'api.test', which is not its host");
}

#[test]
fn a_body_is_exchanged_where_that_is_asked_for() {
    let text = "POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 17\r\n\r\nkey=sk-place-own&x";
    assert!(
        up(&mut exchange(Places::default()), text)
            .unwrap()
            .ends_with("Length: 17\r\nHost: api.test\r\nAccept-Encoding: identity\r\n\r\nkey=sk-place-own&")
    );
    let out = up(&mut exchange(Places { body: true, ..Places::default() }), text).unwrap();
    assert!(
        out.contains("Transfer-Encoding: chunked\r\n") && out.contains("sk-real-value") && !out.contains("place"),
        "{out}"
    );
}

#[test]
fn a_websocket_is_let_through_after_its_handshake() {
    let mut exchange = exchange(Places::default());
    let text = "GET / HTTP/1.1\r\nHost: api.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Extensions: permessage-deflate\r\nAuthorization: Bearer sk-place-own\r\n\r\n";
    let out = up(&mut exchange, text).unwrap();
    assert!(
        out.contains("Connection: Upgrade\r\n") && out.contains("sk-real-value") && !out.contains("deflate"),
        "{out}"
    );
    let answer =
        down(&mut exchange, &[b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n\x81\x0dsk-real", b"-value"])
            .unwrap();
    assert!(answer.ends_with(b"\x81\x0dsk-place-own*"), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(up(&mut exchange, "\x01\x02raw").unwrap(), "\x01\x02raw");
}

#[test]
fn what_is_compressed_is_said_and_what_is_not_asked_for_is_none() {
    let mut exchange = exchange(Places::default());
    let out = up(&mut exchange, "GET / HTTP/1.1\r\nHost: api.test\r\nAccept-Encoding: gzip, br\r\n\r\n").unwrap();
    assert!(out.contains("Accept-Encoding: identity\r\n") && !out.contains("gzip"), "{out}");
    down(&mut exchange, &[b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b"]).unwrap();
    assert!(exchange.notes[0].contains("not looked into"));
    assert!(exchange.is_idle() && !exchange.is_over());
}

#[test]
fn a_compressed_answer_of_a_server_that_has_the_key_is_refused() {
    let compressed = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b";
    let mut exchange = exchange(Places::default());
    up(&mut exchange, GET).unwrap();
    let Err(Stop::Refuse(502, why)) = down(&mut exchange, &[compressed]) else { panic!() };
    assert!(why.contains("it is compressed"), "{why}");
}

#[test]
fn an_early_answer_ends_the_connection() {
    let mut exchange = exchange(Places::default());
    up(&mut exchange, "POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n")
        .unwrap();
    let out = down(&mut exchange, &[b"HTTP/1.1 100 Continue\r\n\r\n"]).unwrap();
    assert_eq!(out, b"HTTP/1.1 100 Continue\r\n\r\n");
    let out = down(&mut exchange, &[b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"]).unwrap();
    assert!(memchr::memmem::find(&out, b"Connection: close").is_some() && exchange.is_over());
}
