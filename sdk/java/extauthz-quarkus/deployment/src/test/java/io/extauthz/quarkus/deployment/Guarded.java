package io.extauthz.quarkus.deployment;

import io.extauthz.declare.Caller;
import io.extauthz.declare.Resource;
import io.extauthz.quarkus.CurrentCaller;
import io.smallrye.mutiny.Uni;
import jakarta.ws.rs.GET;
import jakarta.ws.rs.Path;
import jakarta.ws.rs.PathParam;
import jakarta.ws.rs.core.Context;
import jakarta.ws.rs.core.SecurityContext;

/** Endpoints of each form that a request can take to a method. */
@Path("/guarded")
public class Guarded {

    private final CurrentCaller current;

    Guarded(CurrentCaller current) {
        this.current = current;
    }

    @GET
    @Path("{id}/blocking")
    @Resource(name = "quarkus-guarded:read", defaultRoles = "finance")
    public String blocking(@PathParam("id") String id, @Context SecurityContext security) {
        if (current.get().isEmpty()) {
            return shown();
        }
        String name = security.getUserPrincipal() == null ? "-" : security.getUserPrincipal().getName();
        return shown() + " " + name + " " + security.isUserInRole("finance");
    }

    @GET
    @Path("{id}/event-loop")
    @Resource(name = "quarkus-guarded:read")
    public Uni<String> onTheEventLoop(@PathParam("id") String id) {
        return Uni.createFrom().item(() -> shown() + " " + Thread.currentThread().getName().contains("eventloop"));
    }

    @Path("{id}/below")
    public Below below() {
        return new Below();
    }

    @GET
    @Path("{id}/undeclared")
    public String undeclared() {
        return "undeclared";
    }

    /** A sub-resource. */
    public static class Below {
        @GET
        @Path("{item}")
        @Resource(name = "quarkus-guarded:read")
        public String item(@PathParam("id") String id, @PathParam("item") String item) {
            return id + "/" + item;
        }

        @GET
        @Resource(name = "quarkus-guarded:list")
        public String list() {
            return "list";
        }
    }

    private String shown() {
        return current.get().map(Caller::getName).orElse("-");
    }
}
