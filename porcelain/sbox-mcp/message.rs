//! JSON-RPC 2.0, as the protocol uses it: one object a line, no batches.

use serde_json::{Value, json};

/// Versions that begin with `initialize`, the newest first.
pub const WITH_HANDSHAKE: [&str; 3] = ["2025-11-25", "2025-06-18", "2024-11-05"];

/// Versions in which each request names its own.
pub const BY_REQUEST: [&str; 1] = ["2026-07-28"];

/// Where a request of the second kind has it.
const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

/// Error codes of JSON-RPC, and one of the protocol's own.
pub const PARSE: i64 = -32700;
pub const INVALID: i64 = -32600;
pub const NO_METHOD: i64 = -32601;
pub const PARAMETERS: i64 = -32602;
pub const VERSION_UNKNOWN: i64 = -32022;

/// What came in.
#[derive(Debug)]
pub enum Message {
    Request(Request),
    Notification {
        method: String,
        params: Value,
    },
    /// An answer to a request of ours: its id, and the result if it is one.
    Answer {
        id: Value,
        result: Option<Value>,
    },
}

/// A request.
#[derive(Debug, Clone)]
pub struct Request {
    pub id: Value,
    pub method: String,
    pub params: Value,
}

/// An error of the protocol.
#[derive(Debug)]
pub struct Failure {
    pub code: i64,
    pub message: String,
    pub data: Option<Value>,
}

impl Failure {
    pub fn new(code: i64, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into(), data: None }
    }
}

/// Reads a line.
pub fn read(line: &[u8]) -> Result<Message, Failure> {
    let value: Value = serde_json::from_slice(line).map_err(|_| Failure::new(PARSE, "this is not JSON"))?;
    let Value::Object(mut object) = value else {
        return Err(Failure::new(INVALID, "a message is one object; batches are not understood"));
    };
    let id = object.remove("id");
    let params = object.remove("params").unwrap_or_else(|| json!({}));
    let method = match object.remove("method") {
        Some(Value::String(method)) => Some(method),
        Some(_) => return Err(Failure::new(INVALID, "the method is not text")),
        None => None,
    };
    match (method, id) {
        (Some(method), Some(id)) if id.is_string() || id.is_number() => {
            Ok(Message::Request(Request { id, method, params }))
        }
        (Some(_), Some(_)) => Err(Failure::new(INVALID, "an id is text or a number")),
        (Some(method), None) => Ok(Message::Notification { method, params }),
        (None, Some(id)) => Ok(Message::Answer { id, result: object.remove("result") }),
        (None, None) => Err(Failure::new(INVALID, "a message has a method or an id")),
    }
}

impl Request {
    /// The version that it names itself, if it does.
    pub fn version(&self) -> Option<&str> {
        self.params.get("_meta")?.get(VERSION)?.as_str()
    }

    /// Whether its client can ask its user, as the request says.
    pub fn can_elicit(&self) -> bool {
        self.params.get("_meta").and_then(|meta| meta.get(CAPABILITIES)).is_some_and(can_elicit)
    }

    pub fn progress_token(&self) -> Option<&Value> {
        self.params.get("_meta")?.get("progressToken").filter(|token| token.is_string() || token.is_number())
    }
}

/// Whether these capabilities of a client have forms for its user.
pub fn can_elicit(capabilities: &Value) -> bool {
    match capabilities.get("elicitation") {
        // Without a word about modes, a form is what is meant.
        Some(Value::Object(modes)) => modes.is_empty() || modes.contains_key("form"),
        _ => false,
    }
}

/// Sets a key of an object.
pub fn set(object: &mut Value, key: &str, value: impl Into<Value>) {
    if let Some(object) = object.as_object_mut() {
        object.insert(key.to_owned(), value.into());
    }
}

pub fn answer(id: &Value, result: Result<Value, Failure>) -> Value {
    match result {
        Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
        Err(Failure { code, message, data }) => {
            let mut error = json!({"code": code, "message": message});
            if let Some(data) = data {
                set(&mut error, "data", data);
            }
            json!({"jsonrpc": "2.0", "id": id, "error": error})
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_apart() {
        assert!(matches!(read(br#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#), Ok(Message::Request(_))));
        assert!(matches!(read(br#"{"method":"notifications/initialized"}"#), Ok(Message::Notification { .. })));
        assert!(matches!(read(br#"{"id":"a","result":{}}"#), Ok(Message::Answer { result: Some(_), .. })));
        for (line, code) in [
            (&b"x"[..], PARSE),
            (b"[]", INVALID),
            (b"{}", INVALID),
            (br#"{"id":null,"method":"x"}"#, INVALID),
            (br#"{"id":{},"method":"x"}"#, INVALID),
            (br#"{"id":1,"method":7}"#, INVALID),
        ] {
            assert_eq!(read(line).unwrap_err().code, code, "{}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn a_form_is_asked_of_clients_that_have_them() {
        for (capabilities, can) in [
            (json!({"elicitation": {}}), true),
            (json!({"elicitation": {"form": {}, "url": {}}}), true),
            (json!({"elicitation": {"url": {}}}), false),
            (json!({}), false),
        ] {
            assert_eq!(can_elicit(&capabilities), can, "{capabilities}");
        }
    }
}
