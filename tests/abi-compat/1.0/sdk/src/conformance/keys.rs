//! Key pairs of the kit's nodes: fixed, so that nothing here has to compute one.

use vreserve_abi::Identity;

/// X25519 key pairs, private and public. They protect nothing.
const PAIRS: [[&str; 2]; 8] = [
    [
        "b07e49ae7a622989af8cf1e98b36a681d012b16c8ae751984ecba9258384865e",
        "8410cd24acbf99dd1d9f03e6424f8689723d6694b0669fc54f1b3d2929e92365",
    ],
    [
        "58e234b33d5787aa52315c55ee99d92079c29798b3900e102348436ff57a6678",
        "d86153bd9c16f83cf2bfaada4cb977bf77693910ed21c69079761f48408c2c12",
    ],
    [
        "985ef30cf70370ad2fc039b84c1c0101c826f25b2564835fed56af7c88474940",
        "616a5c46743405f47d57b2a3e55b12e4ba07cb5d5edfb9d69b17427d4c3ffb3a",
    ],
    [
        "708c72c97f05a5154a11a5fdcd4ccda0386828480648a3c7cf631e9bff8b4f71",
        "4d0a01c606862776375de1a0e4ad4a8ceb94f9772b041e3a7a9511448626a04b",
    ],
    [
        "f0a61df10737b7ba6b4c992f74cbacd75d35cb5830a47c7c5a179655e7ae955f",
        "fd234105470dfead2c74ec859491618df102e24c7873762428e7f1c274edbc05",
    ],
    [
        "583467a3b21b51c119df60f2499d0120b6812cfa6c95241cac33beae8b21b96a",
        "50321843ef6b0c35f189f3ae26eadc57dbca9ee42655035498cdc7d499f0f063",
    ],
    [
        "80d24fbc187259274cdd56fb9740684304c7659256accb5a7dc3800d06222269",
        "7953e9ef2ec87d490b93dfbf2990ffbbaf97b63453bd49282c6f19277049a00f",
    ],
    [
        "a0bd14947f477cb52ec221a8ea6614103c3b9c36edfd601e3e94e2ad106afe54",
        "163a96d12cd8fe83ae2459e179aadf1ff2f2e12cb58dfa5b21df4683241d1336",
    ],
];

/// The key pair of the node that has instance `number`.
pub(super) fn identity(number: u32) -> Identity {
    let [secret, public] = PAIRS[number as usize % PAIRS.len()];
    Identity { secret: octets(secret), public: octets(public) }
}

fn octets(text: &str) -> [u8; 32] {
    std::array::from_fn(|at| {
        let digits = text.get(2 * at..2 * at + 2).expect("the constants have 64 digits");
        u8::from_str_radix(digits, 16).expect("the constants are hexadecimal")
    })
}
