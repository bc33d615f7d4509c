// Interopclient runs the official interop client of grpc-go over a tunnel, or without one.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"

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
		chosen, err := choose(*list, *kind)
		if err != nil {
			return err
		}
		channel, end, err := peer.Open(ctx, *addr, *kind, *noFlowControl)
		if err != nil {
			return err
		}
		defer end()
		for _, c := range chosen {
			if err := c.run(ctx, channel); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			fmt.Println("ok", c.name)
		}
		return nil
	})
}

// choose finds the cases of a list, or all that can pass over a kind of channel.
func choose(list, kind string) ([]interopCase, error) {
	var chosen []interopCase
	if list == "" {
		for _, c := range cases {
			if !c.directOnly || kind == "direct" {
				chosen = append(chosen, c)
			}
		}
		return chosen, nil
	}
	byName := map[string]interopCase{}
	for _, c := range cases {
		byName[c.name] = c
	}
	for _, name := range strings.Split(list, ",") {
		c, known := byName[name]
		if !known {
			return nil, fmt.Errorf("-cases: no case is called %q", name)
		}
		chosen = append(chosen, c)
	}
	return chosen, nil
}
