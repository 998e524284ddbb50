//! Certificates and keys of a cluster that lives as long as a test.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};

/// The names by which pods know the API server.
const SERVER_NAMES: &[&str] = &[
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
];

/// A folder of PEM files.
#[derive(Clone, Debug)]
pub(super) struct Pki {
    folder: PathBuf,
}

impl Pki {
    pub(super) fn at(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Makes an authority and what it signs: the API server's certificate for
    /// these addresses, and the one it shows to kubelets.
    pub(super) fn make(&self, addresses: &[IpAddr]) -> Result<()> {
        fs::create_dir_all(&self.folder)
            .with_context(|| format!("cannot make {}", self.folder.display()))?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        name(&mut params, "corten-lab", None);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        write(&self.authority(), &authority.pem())?;
        write(&self.authority_key(), &authority.key().serialize_pem())?;

        let mut names: Vec<String> = SERVER_NAMES.iter().map(ToString::to_string).collect();
        names.extend(addresses.iter().map(ToString::to_string));
        let mut server = CertificateParams::new(names)?;
        name(&mut server, "kube-apiserver", None);
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign("apiserver", server, &authority)?;

        let mut client = CertificateParams::default();
        name(&mut client, "kube-apiserver", Some("system:masters"));
        client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign("kubelet-client", client, &authority)?;

        let key = KeyPair::generate()?;
        write(&self.service_account_key(), &key.serialize_pem())?;
        write(&self.service_account_public_key(), &key.public_key_pem())
    }

    fn sign(
        &self,
        file: &str,
        mut params: CertificateParams,
        authority: &CertifiedIssuer<'_, KeyPair>,
    ) -> Result<()> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, authority)?;
        write(&self.certificate(file), &certificate.pem())?;
        write(&self.key(file), &key.serialize_pem())
    }

    pub(super) fn authority(&self) -> PathBuf {
        self.certificate("ca")
    }

    pub(super) fn authority_key(&self) -> PathBuf {
        self.key("ca")
    }

    /// Signs the tokens of service accounts.
    pub(super) fn service_account_key(&self) -> PathBuf {
        self.key("service-account")
    }

    pub(super) fn service_account_public_key(&self) -> PathBuf {
        self.folder.join("service-account.pub")
    }

    pub(super) fn certificate(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.crt"))
    }

    pub(super) fn key(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.key"))
    }
}

/// Kubernetes takes the common name for the user, the organisation for the
/// group.
fn name(params: &mut CertificateParams, user: &str, group: Option<&str>) {
    params.distinguished_name.push(DnType::CommonName, user);
    if let Some(group) = group {
        params
            .distinguished_name
            .push(DnType::OrganizationName, group);
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
