//! Certificates for a lab's server and its clients, of a CA that exists for this lab alone.
//!
//! The client's common name is the owner of its reservations. Keys are readable by their owner only.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::CertificateDer;

use crate::error::{Error, Result, io_error};

/// A name by which clients may verify the server, wherever it listens.
pub const SERVER_NAME: &str = "gara-server";
/// Longest name of a client.
const LONGEST_NAME: usize = 64;

/// Writes `ca.pem`, `server.pem`, `server.key` and, per client, `<name>.pem` and `<name>.key` into the directory. The
/// server's certificate is for [`SERVER_NAME`], `localhost` and the addresses given. The key of the CA is forgotten: to
/// add a client, make all anew. Nothing is overwritten.
pub fn make(directory: &Path, clients: &[String], addresses: &[IpAddr]) -> Result<()> {
    for name in clients {
        if !is_owner(name) || ["ca", "server"].contains(&name.as_str()) || name.contains('/') {
            return Err(Error::Gara { reason: format!("`{name}` cannot be a client's name") });
        }
    }
    std::fs::create_dir_all(directory).map_err(io_error("create", directory.display()))?;
    let mut params = params("VRESERVE lab CA")?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().map_err(failed)?;
    let ca = params.self_signed(&key).map_err(failed)?;
    write(directory, "ca.pem", &ca.pem(), 0o644)?;
    let issuer = Issuer::new(params, key);

    let names = [SERVER_NAME.to_owned(), "localhost".to_owned()].into_iter();
    let names = names.chain(addresses.iter().map(IpAddr::to_string)).collect();
    signed(directory, "server", names, ExtendedKeyUsagePurpose::ServerAuth, &issuer)?;
    clients.iter().try_for_each(|name| {
        signed(directory, name, Vec::new(), ExtendedKeyUsagePurpose::ClientAuth, &issuer)
    })
}

fn params(common_name: &str) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::<String>::new()).map_err(failed)?;
    params.distinguished_name.push(DnType::CommonName, common_name);
    Ok(params)
}

fn signed(
    directory: &Path,
    name: &str,
    alternatives: Vec<String>,
    purpose: ExtendedKeyUsagePurpose,
    issuer: &Issuer<'_, KeyPair>,
) -> Result<()> {
    let mut params = CertificateParams::new(alternatives).map_err(failed)?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![purpose];
    let key = KeyPair::generate().map_err(failed)?;
    let certificate = params.signed_by(&key, issuer).map_err(failed)?;
    write(directory, &format!("{name}.key"), &key.serialize_pem(), 0o600)?;
    write(directory, &format!("{name}.pem"), &certificate.pem(), 0o644)
}

fn write(directory: &Path, name: &str, text: &str, mode: u32) -> Result<()> {
    let path = directory.join(name);
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(mode).open(&path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(io_error("create", path.display()))
}

fn failed(error: rcgen::Error) -> Error {
    Error::Gara { reason: format!("no certificate: {error}") }
}

/// The common name in a client's certificate, if it can own reservations.
pub(super) fn owner_of(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let name = certificate.subject().iter_common_name().next()?.as_str().ok()?;
    is_owner(name).then(|| name.to_owned())
}

fn is_owner(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.len()) && !name.chars().any(char::is_control)
}
