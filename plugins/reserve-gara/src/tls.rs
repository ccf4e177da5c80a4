//! TLS 1.3 with certificates on both sides, from files. They are read again for every connection, so that
//! renewed ones are taken up.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore};
use vreserve_sdk::Failure;

use crate::config::Config;

/// A file of certificates is shorter.
const LONGEST_FILE: u64 = 1 << 20;

/// What a connection is made with.
pub(crate) fn client_config(config: &Config) -> Result<ClientConfig, Failure> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("ca", &config.ca)? {
        roots.add(certificate).map_err(|error| wrong("ca", &config.ca, error))?;
    }
    let chain = certificates("certificate", &config.certificate)?;
    let key = private_key(&config.key)?;
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| Failure::internal(error.to_string()))?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .map_err(|error| wrong("key", &config.key, error))
}

fn certificates(key: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let text = read(key, path, File::open(path))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let certificates = certificates.map_err(|error| wrong(key, path, error))?;
    if certificates.is_empty() {
        return Err(wrong(key, path, "there is no certificate in it"));
    }
    Ok(certificates)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Failure> {
    let file = File::open(path);
    // The mode of the very file that is read.
    if let Ok(mode) = file
        .as_ref()
        .map_or_else(|_| Err(()), |file| file.metadata().map_err(drop))
        .map(|m| m.permissions().mode())
        && mode & 0o077 != 0
    {
        return Err(wrong("key", path, format!("others may use it (mode {:04o})", mode & 0o7777)));
    }
    let text = read("key", path, file)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| wrong("key", path, error))
}

fn read(key: &str, path: &Path, file: std::io::Result<File>) -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    file.and_then(|file| file.take(LONGEST_FILE).read_to_end(&mut text))
        .map_err(|error| wrong(key, path, error))?;
    Ok(text)
}

fn wrong(key: &str, path: &Path, why: impl std::fmt::Display) -> Failure {
    Failure::invalid(key, format!("{}: {why}", path.display()))
}
