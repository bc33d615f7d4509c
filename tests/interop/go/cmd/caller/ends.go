package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// patience is the deadline of the call that misses it: long enough to reach the handler before.
const patience = time.Second

// mostPatience is what the handler may be told at most: a hop may round a timeout up.
const mostPatience = patience + patience/10

// deadline makes a call that cannot be finished in time. The handler must have been told how long
// it had, and must have been cancelled.
func (c caller) deadline(ctx context.Context) error {
	id := rand.Text()
	call, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(ctx, "x-call-id", id), patience)
	defer cancel()
	stream, err := c.service.Client.StreamingOutputCall(call, &grpc_testing.StreamingOutputCallRequest{
		ResponseParameters: []*grpc_testing.ResponseParameters{{Size: 1, IntervalUs: 1_000_000_000}},
	})
	if err != nil {
		return err
	}
	if _, err := stream.Recv(); status.Code(err) != codes.DeadlineExceeded {
		return fmt.Errorf("the call ended with %v", err)
	}
	seen, err := c.observe(ctx, id)
	if err != nil {
		return err
	}
	if ms, err := strconv.Atoi(seen.timeout); err != nil || ms <= 0 || ms > int(mostPatience.Milliseconds()) {
		return fmt.Errorf("the handler was given %q ms of %v", seen.timeout, patience)
	}
	return seen.mustBe("cancelled")
}

// cancel ends a call in its middle. The handler must have been cancelled; it must not have been
// given a deadline that nobody set.
func (c caller) cancel(ctx context.Context) error {
	id := rand.Text()
	if err := c.service.Cancel(metadata.AppendToOutgoingContext(ctx, "x-call-id", id), 1, 1000, func() {}); err != nil {
		return err
	}
	seen, err := c.observe(ctx, id)
	if err != nil {
		return err
	}
	if seen.timeout != "" {
		return fmt.Errorf("the handler was given %q ms, and no deadline was set", seen.timeout)
	}
	return seen.mustBe("cancelled")
}

// observation is what a handler saw of a call.
type observation struct {
	// end is how the call ended: finished or cancelled.
	end string
	// timeout is how long the call had when it began, in milliseconds, or nothing.
	timeout string
}

func (o observation) mustBe(end string) error {
	if o.end != end {
		return fmt.Errorf("the handler saw the call %q, not %q", o.end, end)
	}
	return nil
}

// observe waits until a call has ended at its handler, and says how.
func (c caller) observe(ctx context.Context, id string) (observation, error) {
	var header metadata.MD
	ctx = metadata.AppendToOutgoingContext(ctx, "x-observe-call", id)
	if _, err := c.service.Client.UnaryCall(ctx, &grpc_testing.SimpleRequest{}, grpc.Header(&header)); err != nil {
		return observation{}, fmt.Errorf("observing the handler: %w", err)
	}
	one := func(key string) string {
		if values := header.Get(key); len(values) == 1 {
			return values[0]
		}
		return ""
	}
	return observation{end: one("x-call-end"), timeout: one("x-call-timeout-ms")}, nil
}
