// Caller is a plain gRPC client, with no tunnel of its own: it calls, through a gateway, the
// services of the Python server in this directory's sibling.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"

	"google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"

	"interop.example/peers/internal/calls"
	"interop.example/peers/internal/peer"
)

func main() {
	target := flag.String("target", "", "the address of the gateway, or of the server itself")
	name := flag.String("name", "", "the agent to reach, sent as x-tunnel-target with every call")
	list := flag.String("case", "all", "the cases to run, with commas between, or all")
	peer.Check(func(ctx context.Context) error {
		if *target == "" {
			return errors.New("-target is required")
		}
		chosen, err := choose(*list)
		if err != nil {
			return err
		}
		conn, err := peer.Dial(*target)
		if err != nil {
			return err
		}
		defer conn.Close()
		if *name != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, "x-tunnel-target", *name)
		}
		client := grpc_testing.NewTestServiceClient(conn)
		c := caller{conn, calls.Service{Client: client, Echo: true, Details: true}}
		for _, chosen := range chosen {
			if err := chosen.run(c, ctx); err != nil {
				return fmt.Errorf("%s: %w", chosen.name, err)
			}
			fmt.Println("ok", chosen.name)
		}
		return nil
	})
}

func choose(list string) ([]namedCase, error) {
	var chosen []namedCase
	for _, name := range strings.Split(list, ",") {
		found := false
		for _, c := range cases {
			if c.name == name || name == "all" && !c.onRequest {
				chosen = append(chosen, c)
				found = true
			}
		}
		if !found {
			return nil, fmt.Errorf("-case: no case is called %q", name)
		}
	}
	return chosen, nil
}
