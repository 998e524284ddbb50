//! Passwords of peers that stand in Secrets.

use alloc::collections::BTreeMap;
use alloc::string::String;

use super::declared::{Object, PeerSpec, Secret};
use super::refused::Refusals;
use super::{Password, Reason};

const KIND: &str = "kubernetes.io/basic-auth";

pub(super) fn password(
    object: &Object<PeerSpec>,
    secrets: &BTreeMap<String, Secret>,
    refusals: &mut Refusals,
) -> Option<Password> {
    let Object { place, spec, .. } = object;
    let inline = Some(spec.password.clone()).filter(|password| !password.is_empty());
    if spec.password_secret.is_empty() {
        return inline;
    }
    let field = "passwordSecret";
    if inline.is_some() {
        refusals.refuse(place, field, Reason::BothPasswords);
        return inline;
    }
    let name = &spec.password_secret;
    refusals.keep(place, field, of(name, secrets.get(name)))
}

fn of(name: &str, secret: Option<&Secret>) -> Result<Password, Reason> {
    let name = || String::from(name);
    let secret = secret.ok_or_else(|| Reason::SecretMissing { secret: name() })?;
    if secret.kind != KIND {
        return Err(Reason::SecretType {
            secret: name(),
            kind: secret.kind.clone(),
        });
    }
    let password = secret.password.clone();
    password.ok_or_else(|| Reason::SecretWithoutPassword { secret: name() })
}
