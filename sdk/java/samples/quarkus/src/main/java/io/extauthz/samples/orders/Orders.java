package io.extauthz.samples.orders;

import io.extauthz.declare.Caller;
import io.extauthz.declare.Resource;
import io.extauthz.quarkus.CurrentCaller;
import jakarta.ws.rs.DELETE;
import jakarta.ws.rs.GET;
import jakarta.ws.rs.NotAuthorizedException;
import jakarta.ws.rs.Path;
import java.util.List;

/** Orders: each endpoint says which resource it is. */
@Path("/orders/{number}")
public class Orders {

    private final CurrentCaller current;

    Orders(CurrentCaller current) {
        this.current = current;
    }

    /** An order, and who reads it. */
    public record Order(
            String number, String subject, String kind, List<String> roles, String tenant, String domain) { }

    @GET
    @Resource(name = "quarkus-sample-order:read", defaultRoles = "finance")
    public Order read(String number) {
        Caller caller = current.get().orElseThrow(() -> new NotAuthorizedException("Bearer"));
        return new Order(
                number, caller.subject(), caller.kind(), caller.roles(), caller.tenant(), caller.domain());
    }

    @DELETE
    @Resource(name = "quarkus-sample-order:delete")
    public Order delete(String number) {
        return read(number);
    }
}
