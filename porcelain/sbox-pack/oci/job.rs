//! What runs an image elsewhere: a Kubernetes Job (<https://kubernetes.io/docs/concepts/workloads/controllers/job/>).

use libsbox::config::Config;
use serde_json::{Value, json};

/// The Job, as YAML. What is asked of the user is where the image is, and a Secret with the variables.
pub fn job(name: &str, config: &Config, variables: &[String]) -> String {
    let limits = &config.limits;
    let mut resources = serde_json::Map::new();
    if let Some(memory) = limits.memory {
        resources.insert("memory".into(), memory.to_string().into());
    }
    if let Some(cpus) = limits.cpus {
        resources.insert("cpu".into(), format!("{}m", (cpus * 1000.0).ceil().max(1.0)).into());
    }
    let secret = |variable: &String| json!({"name": variable, "valueFrom": {"secretKeyRef": {"name": label(name), "key": variable}}});
    let mut tmp = json!({});
    if let Some(bytes) = limits.tmp {
        tmp = json!({"medium": "Memory", "sizeLimit": bytes.to_string()});
    }
    let container = json!({
        "name": "agent",
        "image": format!("{REGISTRY}/{name}:latest"),
        "env": variables.iter().map(secret).collect::<Vec<Value>>(),
        "resources": {"limits": resources},
        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    });
    let mut spec = json!({"backoffLimit": 0});
    if let Some(seconds) = limits.time {
        spec["activeDeadlineSeconds"] = seconds.max(1).into();
    }
    spec["template"] = json!({"spec": {
        "restartPolicy": "Never",
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "securityContext": {
            "runAsNonRoot": true, "runAsUser": 1000, "runAsGroup": 0, "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": tmp}],
    }});
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": label(name)}, "spec": spec});
    let mut text = String::new();
    yaml(&job, 0, &mut text);
    text
}

/// Where an image is pushed to, for want of a better name.
pub const REGISTRY: &str = "registry.example.org";

/// A name as Kubernetes takes it: a label of DNS.
fn label(name: &str) -> String {
    name.chars().take(52).collect::<String>().trim_matches('-').to_owned()
}

/// A value in the block style of YAML; texts and what is empty as JSON has them, which YAML reads.
fn yaml(value: &Value, indent: usize, out: &mut String) {
    let pad = "  ".repeat(indent);
    let is_block = |value: &Value| match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(list) => !list.is_empty(),
        _ => false,
    };
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                if is_block(value) {
                    out.push_str(&format!("{pad}{key}:\n"));
                    yaml(value, indent + 1, out);
                } else {
                    out.push_str(&format!("{pad}{key}: {value}\n"));
                }
            }
        }
        Value::Array(list) => {
            for value in list {
                let mut inner = String::new();
                yaml(value, indent + 1, &mut inner);
                let first = inner.trim_start();
                out.push_str(&format!("{pad}- {first}"));
            }
        }
        value => out.push_str(&format!("{pad}{value}\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_becomes_yaml_that_can_be_read() {
        let mut text = String::new();
        yaml(&json!({"a": {"b": [{"c": 1, "d": {"e": "x: y"}}, "f"]}, "g": {}, "h": ["ALL"]}), 0, &mut text);
        assert_eq!(text, "a:\n  b:\n    - c: 1\n      d:\n        e: \"x: y\"\n    - \"f\"\ng: {}\nh:\n  - \"ALL\"\n");
    }

    #[test]
    fn a_name_fits_a_label() {
        assert_eq!(label("my-agent"), "my-agent");
        assert!(label(&"a-".repeat(60)).len() <= 52 && !label(&"a-".repeat(60)).ends_with('-'));
    }
}
