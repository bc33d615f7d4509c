// Interopclient runs the official interop client of grpc-go over a tunnel, or without one.
package main

import (
	"context"
	"errors"
	"flag"

	"interop.example/peers/internal/cases"
	"interop.example/peers/internal/peer"
)

func main() {
	addr := flag.String("server", "", "the address of the server")
	kind := flag.String("tunnel", "forward", "forward, or direct for no tunnel")
	noFlowControl := flag.Bool("no-flow-control", false, "accept revision zero only")
	list := flag.String("cases", "", "the cases to run, with commas between (default: all that can pass)")
	peer.Check(func(ctx context.Context) error {
		if *addr == "" {
			return errors.New("-server is required")
		}
		chosen, err := cases.Choose(*list, *kind == "direct")
		if err != nil {
			return err
		}
		channel, end, err := peer.Open(ctx, *addr, *kind, *noFlowControl)
		if err != nil {
			return err
		}
		defer end()
		return cases.Play(ctx, chosen, channel)
	})
}
