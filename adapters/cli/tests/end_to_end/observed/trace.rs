//! The trace that a call belongs to is its caller's and its server's business.

use http::HeaderValue;

use crate::{
    raw,
    support::{Tested, agent, bounded, gateway},
};

#[tokio::test]
async fn the_trace_context_of_a_call_passes_untouched() -> Tested {
    bounded(async {
        let gateway = gateway().await?;
        let (local, mut arrivals) = raw::server().await?;
        let _agent = agent(gateway.address, "a", local).await?;
        let context = [
            (
                "traceparent",
                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            ),
            ("tracestate", "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"),
            ("baggage", "user=alice;secret,region=eu%20west"),
            ("b3", "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1"),
            ("grpc-trace-bin", "AAAK92UZFs1D3YRIuyEcgDGcAbet"),
        ];
        let mut request = raw::request(gateway.address, "/a.B/C", b"\0\0\0\0\0")?;
        for (name, value) in context {
            request
                .headers_mut()
                .insert(name, HeaderValue::from_static(value));
        }
        raw::caller().request(request).await?;
        let (head, _) = arrivals.recv().await.ok_or("nothing arrived")?;
        for (name, value) in context {
            let arrived: Vec<_> = head.headers.get_all(name).iter().collect();
            assert_eq!(arrived, [value], "{name}");
        }
        Ok(())
    })
    .await
}
