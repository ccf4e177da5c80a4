//! The three eBPF programs of an endpoint, assembled by hand: some twenty instructions each, without maps, so that no
//! compiler, object file or loader is needed ([decision 009](../../../docs/decisions/009-vxlan-device.md)). Pure.
//!
//! At the exit of the device (TCX egress) a frame's mark, an IPv4 address, becomes its tunnel key. At the entrance
//! (TCX ingress) the tunnel key becomes the mark. But a packet socket sees a frame before the program at the entrance does:
//! so the program, when it has marked a frame, notes that in its traffic-control index and sends it through the entrance
//! again; a filter on the socket takes only frames with that note, and the program drops them when it sees them the second
//! time, as nobody else is to have them.

use std::net::Ipv4Addr;

/// One instruction, as the kernel has it (`struct bpf_insn`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// Mark of frames of another network: an address that no far node can have.
pub(crate) const WRONG_VNI: u32 = 0;
/// Mark of frames that came to another address than the endpoint's, or over IPv6.
pub(crate) const ELSEWHERE: u32 = u32::MAX;

/// What the traffic-control index of a marked frame says. Nothing else sets it on such a device.
const MARKED: i32 = 0x5652;

/// Time to live of outer headers: the default of Linux for everything that it sends.
const TTL: u8 = 64;

// Places in `struct __sk_buff`.
const MARK: i16 = 8;
const TC_INDEX: i16 = 44;

// `struct bpf_tunnel_key`, 44 bytes, at the bottom of the stack.
const KEY: i16 = -48;
const KEY_LEN: i32 = 44;
const KEY_VNI: i16 = KEY;
const KEY_REMOTE: i16 = KEY + 4;
const KEY_TTL: i16 = KEY + 20;
const KEY_LOCAL: i16 = KEY + 28;

// Helper functions and their flags, of linux/bpf.h.
const GET_TUNNEL_KEY: i32 = 20;
const SET_TUNNEL_KEY: i32 = 21;
const REDIRECT: i32 = 23;
/// `BPF_F_ZERO_CSUM_TX`: no outer checksum (RFC 7348 §5), and `BPF_F_DONT_FRAGMENT` (§4.3).
const KEY_FLAGS: i32 = 1 << 1 | 1 << 2;
/// `BPF_F_INGRESS`.
const INGRESS: i32 = 1;

const TCX_PASS: i32 = 0;
const TCX_DROP: i32 = 2;

// Registers: the result, the arguments, three that survive calls, and the frame pointer.
const R0: u8 = 0;
const R1: u8 = 1;
const R2: u8 = 2;
const R3: u8 = 3;
const R4: u8 = 4;
const CONTEXT: u8 = 6;
const FAR: u8 = 7;
const OTHER: u8 = 8;
const FRAME: u8 = 10;

/// A jump there is resolved by [`with_drop`].
const TO_DROP: i16 = i16::MAX;

/// The program at the exit: frames with a mark go to that address, all others (of the kernel's own) nowhere.
pub(crate) fn egress(vni: u32, local: Ipv4Addr) -> Vec<Instruction> {
    let ttl = i32::from_ne_bytes([0, TTL, 0, 0]);
    let mut program = vec![copy(CONTEXT, R1), load(FAR, CONTEXT, MARK), jump_if_equal(FAR, 0, TO_DROP)];
    program.extend((KEY..KEY + KEY_LEN as i16).step_by(4).map(|at| store_value(FRAME, at, 0)));
    program.extend([
        store_value(FRAME, KEY_VNI, vni.cast_signed()),
        store(FRAME, KEY_REMOTE, FAR),
        store_value(FRAME, KEY_TTL, ttl),
        store_value(FRAME, KEY_LOCAL, local.to_bits().cast_signed()),
        copy(R2, FRAME),
        add(R2, KEY.into()),
        set(R3, KEY_LEN),
        set(R4, KEY_FLAGS),
        call(SET_TUNNEL_KEY),
        jump_unless_equal(R0, 0, TO_DROP),
        // The mark is no business of the routing rules for the outer datagram.
        set(R1, 0),
        store(CONTEXT, MARK, R1),
        set(R0, TCX_PASS),
        exit(),
    ]);
    with_drop(program)
}

/// The program at the entrance of the device with this index.
pub(crate) fn ingress(vni: u32, local: Ipv4Addr, device: u32) -> Vec<Instruction> {
    with_drop(vec![
        copy(CONTEXT, R1),
        load(OTHER, CONTEXT, TC_INDEX),
        jump_if_equal(OTHER, MARKED, TO_DROP),
        copy(R2, FRAME),
        add(R2, KEY.into()),
        set(R3, KEY_LEN),
        set(R4, 0),
        // Without an IPv4 tunnel key this fails and leaves a key of zeros, which came elsewhere.
        call(GET_TUNNEL_KEY),
        load(FAR, FRAME, KEY_REMOTE),
        load(OTHER, FRAME, KEY_VNI),
        jump_if_equal(OTHER, vni.cast_signed(), 1),
        set(FAR, WRONG_VNI.cast_signed()),
        load(OTHER, FRAME, KEY_LOCAL),
        jump_if_equal(OTHER, local.to_bits().cast_signed(), 1),
        set(FAR, ELSEWHERE.cast_signed()),
        store(CONTEXT, MARK, FAR),
        set(R1, MARKED),
        store(CONTEXT, TC_INDEX, R1),
        set(R1, device.cast_signed()),
        set(R2, INGRESS),
        call(REDIRECT),
        exit(),
    ])
}

/// The filter on the socket: the whole of a marked frame, nothing of another.
pub(crate) fn filter() -> Vec<Instruction> {
    vec![load(R1, R1, TC_INDEX), set(R0, 0), jump_unless_equal(R1, MARKED, 1), set(R0, i32::MAX), exit()]
}

/// Ends a program with the drop that its jumps to [`TO_DROP`] go to.
fn with_drop(mut program: Vec<Instruction>) -> Vec<Instruction> {
    let end = program.len() as i16;
    for (at, instruction) in (0..).zip(&mut program) {
        if instruction.offset == TO_DROP {
            instruction.offset = end - at - 1;
        }
    }
    program.extend([set(R0, TCX_DROP), exit()]);
    program
}

/// Instruction classes and modes of linux/bpf.h, as far as they are used here. All values have 32 bits: an address with its
/// first bit set is no negative number.
fn instruction(code: u8, (to, from): (u8, u8), offset: i16, immediate: i32) -> Instruction {
    let registers = if cfg!(target_endian = "little") { to | from << 4 } else { to << 4 | from };
    Instruction { code, registers, offset, immediate }
}

fn copy(to: u8, from: u8) -> Instruction {
    instruction(0xbf, (to, from), 0, 0)
}

fn add(to: u8, value: i32) -> Instruction {
    instruction(0x07, (to, 0), 0, value)
}

fn set(to: u8, value: i32) -> Instruction {
    instruction(0xb4, (to, 0), 0, value)
}

fn load(to: u8, base: u8, offset: i16) -> Instruction {
    instruction(0x61, (to, base), offset, 0)
}

fn store(base: u8, offset: i16, from: u8) -> Instruction {
    instruction(0x63, (base, from), offset, 0)
}

fn store_value(base: u8, offset: i16, value: i32) -> Instruction {
    instruction(0x62, (base, 0), offset, value)
}

fn jump_if_equal(left: u8, right: i32, skip: i16) -> Instruction {
    instruction(0x16, (left, 0), skip, right)
}

fn jump_unless_equal(left: u8, right: i32, skip: i16) -> Instruction {
    instruction(0x56, (left, 0), skip, right)
}

fn call(helper: i32) -> Instruction {
    instruction(0x85, (0, 0), 0, helper)
}

fn exit() -> Instruction {
    instruction(0x95, (0, 0), 0, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_jump_to_the_drop_lands_on_it() {
        let local = Ipv4Addr::new(198, 51, 100, 1);
        for program in [egress(7, local), ingress(7, local, 3)] {
            let drop = program.len() - 2;
            assert_eq!(program[drop..], [set(R0, TCX_DROP), exit()]);
            assert!(program.iter().all(|instruction| instruction.offset != TO_DROP));
            let lands = |at: usize| at + 1 + usize::try_from(program[at].offset).unwrap() == drop;
            assert!(lands(2), "what is not for this program");
        }
    }
}
