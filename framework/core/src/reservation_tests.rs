//! The reservation machine against its own table: every row, every state, every contradiction.

use std::collections::BTreeSet;

use super::*;

const FLOWS: [Flow; 3] = [Flow::Fused, Flow::TwoPhase, Flow::Stepwise];

fn events() -> Vec<ReservationEvent> {
    let plain = [
        Submit,
        Abandon,
        Granted,
        Refused,
        OutcomeUnknown,
        Committed,
        HoldExpired,
        Activate,
        Deactivated,
        Abort,
        Cancel,
        Cancelled,
        Gone,
    ];
    plain.into_iter().chain(ReservationState::ALL.map(|(state, _)| Reported(state))).collect()
}

#[test]
fn every_row_leads_where_it_says() {
    for row in TRANSITIONS {
        let flow = row.flow.unwrap_or(Flow::Fused);
        let mut reservation = Reservation::resume(flow, row.from);
        assert_eq!(reservation.apply(row.event), Ok(row.to), "{row:?}");
        assert_eq!(reservation.state(), row.to);
    }
}

#[test]
fn what_has_no_row_is_reported_and_changes_nothing() {
    let mut illegal = 0;
    for flow in FLOWS {
        for (state, _) in ReservationState::ALL {
            for event in events() {
                let mut reservation = Reservation::resume(flow, state);
                if let Err(error) = reservation.apply(event) {
                    assert_eq!(error, IllegalTransition { from: state, event });
                    assert_eq!(reservation.state(), state);
                    illegal += 1;
                }
            }
        }
    }
    assert!(illegal > 100);
    let text = IllegalTransition { from: Released, event: Reported(Active) }.to_string();
    assert_eq!(text, "\"reported active\" cannot happen to a reservation that is released");
}

#[test]
fn no_event_has_two_ways_out_of_one_state() {
    for (index, one) in TRANSITIONS.iter().enumerate() {
        for other in &TRANSITIONS[index + 1..] {
            let same = one.from == other.from && one.event == other.event;
            let overlap = one.flow.is_none() || other.flow.is_none() || one.flow == other.flow;
            assert!(!(same && overlap), "{one:?} and {other:?}");
        }
    }
}

#[test]
fn every_state_reaches_an_end_in_every_flow_and_ends_are_final() {
    for flow in FLOWS {
        for (start, _) in ReservationState::ALL {
            let mut reached = BTreeSet::from([start]);
            let mut todo = vec![start];
            while let Some(state) = todo.pop() {
                for row in TRANSITIONS.iter().filter(|row| row.from == state) {
                    if row.flow.is_none_or(|f| f == flow) && reached.insert(row.to) {
                        todo.push(row.to);
                    }
                }
            }
            assert!(reached.contains(&Released) || reached.contains(&Failed), "{start} in {flow:?}");
        }
    }
    assert!(TRANSITIONS.iter().all(|row| row.from != Released && row.from != Failed));
}

#[test]
fn capacity_is_only_forgotten_on_the_providers_word() {
    for row in TRANSITIONS.iter().filter(|row| row.from.may_hold_capacity()) {
        let word = matches!(row.event, Refused | Gone | Cancelled | HoldExpired | Reported(Failed));
        assert!(row.to.may_hold_capacity() || word, "{row:?}");
    }
    let cancel = TRANSITIONS.iter().find(|row| row.from == Unknown && row.event == Cancel);
    assert_eq!(cancel, None, "an unknown reservation is looked up before anything else");
}

#[test]
fn capabilities_decide_what_a_yes_means() {
    let fused = Capabilities { fused_activation: true, ..Capabilities::default() };
    let two_phase = Capabilities { two_phase: true, ..Capabilities::default() };
    for (capabilities, state) in [(fused, Active), (two_phase, Held), (Capabilities::default(), Booked)] {
        let mut reservation = Reservation::new(Flow::from(&capabilities));
        reservation.apply(Submit).unwrap();
        assert_eq!(reservation.apply(Granted), Ok(state));
    }
}

#[test]
fn a_fused_yes_is_active_unless_the_provider_reports_trouble() {
    for (reported, state) in
        [(Submitted, Active), (Booked, Active), (Active, Active), (Failed, Failed), (Unknown, Unknown)]
    {
        let mut reservation = Reservation::resume(Flow::Fused, Submitted);
        assert_eq!(reservation.grant(reported), Ok(state));
    }
    let mut stepwise = Reservation::resume(Flow::Stepwise, Submitted);
    assert_eq!(stepwise.grant(Activating), Ok(Activating));
    assert_eq!(stepwise.observe(Active), Ok(Active));
    assert_eq!(stepwise.observe(Booked), Ok(Degraded), "a regression is trouble, not progress");
    assert_eq!(stepwise.observe(Released), Ok(Failed), "what we did not give back has failed");
}
