package main

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/interop"
	"google.golang.org/grpc/interop/grpc_testing"
)

// officialCases are functions that end the process when the case fails.
var officialCases = map[string]func(context.Context, grpc_testing.TestServiceClient, ...grpc.CallOption){
	"empty_unary":                 interop.DoEmptyUnaryCall,
	"large_unary":                 interop.DoLargeUnaryCall,
	"client_streaming":            interop.DoClientStreaming,
	"server_streaming":            interop.DoServerStreaming,
	"ping_pong":                   interop.DoPingPong,
	"empty_stream":                interop.DoEmptyStream,
	"custom_metadata":             interop.DoCustomMetadata,
	"status_code_and_message":     interop.DoStatusCodeAndMessage,
	"special_status_message":      interop.DoSpecialStatusMessage,
	"cancel_after_begin":          interop.DoCancelAfterBegin,
	"cancel_after_first_response": interop.DoCancelAfterFirstResponse,
	"timeout_on_sleeping_server":  interop.DoTimeoutOnSleepingServer,
}

// official plays cases of a list with commas between, one after the other.
func official(ctx context.Context, channel grpc.ClientConnInterface, list string) error {
	service := grpc_testing.NewTestServiceClient(channel)
	for _, name := range strings.Split(list, ",") {
		play, known := officialCases[name]
		if !known {
			return fmt.Errorf("-cases: no case is called %q", name)
		}
		play(ctx, service)
		fmt.Println("ok", name)
	}
	return nil
}
