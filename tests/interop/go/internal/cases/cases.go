// Package cases has the official interoperability cases of grpc-go, by their names.
package cases

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/interop"
	"google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"interop.example/peers/internal/calls"
)

// Case is one of them.
type Case struct {
	name string
	run  func(context.Context, grpc.ClientConnInterface) error
	// directOnly marks what no tunnel of the known peers can carry.
	directOnly bool
}

var all = []Case{
	{name: "empty_unary", run: official(interop.DoEmptyUnaryCall)},
	{name: "large_unary", run: official(interop.DoLargeUnaryCall)},
	{name: "client_streaming", run: official(interop.DoClientStreaming)},
	{name: "server_streaming", run: official(interop.DoServerStreaming)},
	{name: "ping_pong", run: official(interop.DoPingPong)},
	{name: "empty_stream", run: official(interop.DoEmptyStream)},
	{name: "timeout_on_sleeping_server", run: official(interop.DoTimeoutOnSleepingServer)},
	{name: "cancel_after_begin", run: official(interop.DoCancelAfterBegin)},
	{name: "cancel_after_first_response", run: official(interop.DoCancelAfterFirstResponse)},
	{name: "status_code_and_message", run: official(interop.DoStatusCodeAndMessage)},
	{name: "special_status_message", run: official(interop.DoSpecialStatusMessage)},
	{name: "unimplemented_method", run: unimplementedMethod},
	{name: "unimplemented_service", run: unimplementedService},
	{name: "custom_metadata", run: official(interop.DoCustomMetadata)},
	{name: "text_metadata", run: echoTrailing("é☂")},
	{name: "binary_metadata", run: echoTrailing("\xab\xab\xab"), directOnly: true},
}

// Play plays cases one after the other, and says in a line which of them passed.
func Play(ctx context.Context, chosen []Case, channel grpc.ClientConnInterface) error {
	for _, c := range chosen {
		if err := c.run(ctx, channel); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		fmt.Println("ok", c.name)
	}
	return nil
}

// Choose finds the cases of a list with commas between, or all that can pass, directly or through
// a tunnel.
func Choose(list string, direct bool) ([]Case, error) {
	var chosen []Case
	if list == "" {
		for _, c := range all {
			if !c.directOnly || direct {
				chosen = append(chosen, c)
			}
		}
		return chosen, nil
	}
	byName := map[string]Case{}
	for _, c := range all {
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

// official makes a case of a function that ends the process when the case fails.
func official(do func(context.Context, grpc_testing.TestServiceClient, ...grpc.CallOption)) func(context.Context, grpc.ClientConnInterface) error {
	return func(ctx context.Context, conn grpc.ClientConnInterface) error {
		do(ctx, grpc_testing.NewTestServiceClient(conn))
		return nil
	}
}

func unimplementedService(ctx context.Context, conn grpc.ClientConnInterface) error {
	interop.DoUnimplementedService(ctx, grpc_testing.NewUnimplementedServiceClient(conn))
	return nil
}

// unimplementedMethod stands in for the official function, which takes no other channel than its
// own and sends a nil message, which the tunnel of the Go module cannot marshal.
func unimplementedMethod(ctx context.Context, conn grpc.ClientConnInterface) error {
	var resp grpc_testing.Empty
	err := conn.Invoke(ctx, "/grpc.testing.TestService/UnimplementedCall", &grpc_testing.Empty{}, &resp)
	if status.Code(err) != codes.Unimplemented {
		return fmt.Errorf("the call ended with %v", err)
	}
	return nil
}

// echoTrailing sends a value of a -bin key and expects it in the trailers. The official case sends
// only ASCII bytes, which every dialect of the tunnel carries.
func echoTrailing(value string) func(context.Context, grpc.ClientConnInterface) error {
	const key = "x-grpc-test-echo-trailing-bin"
	return func(ctx context.Context, conn grpc.ClientConnInterface) error {
		var trailer metadata.MD
		ctx = metadata.AppendToOutgoingContext(ctx, key, value)
		_, err := grpc_testing.NewTestServiceClient(conn).UnaryCall(ctx, &grpc_testing.SimpleRequest{}, grpc.Trailer(&trailer))
		if err != nil {
			return err
		}
		return calls.CheckOne(trailer, key, value)
	}
}
