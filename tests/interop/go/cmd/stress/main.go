// Stress makes heavy use of one tunnel, or of a plain connection.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"time"

	"google.golang.org/grpc/interop/grpc_testing"

	"interop.example/peers/internal/calls"
	"interop.example/peers/internal/peer"
)

func main() {
	addr := flag.String("server", "", "the address of the server")
	kind := flag.String("tunnel", "forward", "forward, or direct for no tunnel")
	noFlowControl := flag.Bool("no-flow-control", false, "accept revision zero only")
	name := flag.String("case", "", "sizes, slow_reader, soak, trickle, or in_flight (which says `in flight`, and waits for the server to take no new calls)")
	count := flag.Int("calls", 10_000, "calls of a soak")
	span := flag.Duration("for", 4*time.Second, "how long messages trickle")
	peer.Check(func(ctx context.Context) error {
		if *addr == "" {
			return errors.New("-server is required")
		}
		channel, end, err := peer.Open(ctx, *addr, *kind, *noFlowControl)
		if err != nil {
			return err
		}
		defer end()
		service := calls.Service{Client: grpc_testing.NewTestServiceClient(channel), Echo: true, Details: true}
		switch *name {
		case "sizes":
			return service.Sizes(ctx)
		case "slow_reader":
			return service.SlowReader(ctx)
		case "soak":
			return service.Soak(ctx, *count)
		case "trickle":
			fmt.Println("begun")
			return service.Trickle(ctx, *span)
		case "in_flight":
			return service.InFlight(ctx, func() { fmt.Println("in flight") })
		default:
			return fmt.Errorf("-case: no case is called %q", *name)
		}
	})
}
