package io.extauthz.declare;

import io.extauthz.client.ResourceSpec;
import java.util.List;
import java.util.stream.Collectors;

/**
 * What the endpoints of an application declare.
 *
 * @param resources the resources with their routes, as they are registered
 * @param problems what is left out, or not what it seems
 * @param endpoints the endpoints of each resource, in the order of {@code resources}
 */
public record Declared(
        List<ResourceSpec> resources, List<DeclarationProblem> problems, List<List<Endpoint>> endpoints) {

    private static final int MOST_NAMED = 3;

    /** Copies the lists. */
    public Declared {
        resources = List.copyOf(resources);
        problems = List.copyOf(problems);
        endpoints = endpoints.stream().map(List::copyOf).toList();
    }

    /**
     * Tells which declaration a place in a registration is from.
     *
     * @param pointer a JSON pointer into the registration, such as {@code /0/routes/1/path}
     * @return resource, class and method, such as {@code 'invoice:read' of com.acme.Invoices.read}, with the
     *     member after it; the pointer itself where it leads elsewhere
     */
    public String origin(String pointer) {
        String[] steps = pointer.split("/", 4);
        int position = number(steps, 1, resources.size());
        if (position < 0) {
            return pointer;
        }
        ResourceSpec resource = resources.get(position);
        String member = pointer.substring(1 + steps[1].length());
        List<Endpoint> all = endpoints.get(position);
        List<Endpoint> meant = all;
        if (steps.length > 3 && steps[2].equals("routes")) {
            String[] inner = steps[3].split("/", 2);
            int route = number(inner, 0, resource.routes().size());
            if (route >= 0) {
                String path = resource.routes().get(route).path();
                member = "path " + path + (inner.length > 1 ? " (" + inner[1] + ")" : "");
                meant = all.stream().filter(each -> pathOf(each, path)).toList();
                meant = meant.isEmpty() ? all : meant;
            }
        }
        return "'" + resource.name() + "' of " + methods(meant) + (member.isEmpty() ? "" : ", " + member);
    }

    /**
     * Returns one text about every problem.
     *
     * @return the messages, one a line; empty where there are no problems
     */
    public String problemText() {
        return problems.stream().map(DeclarationProblem::message).collect(Collectors.joining("\n"));
    }

    private static boolean pathOf(Endpoint endpoint, String path) {
        String template = MappedPath.parse(endpoint.path()).template();
        return template != null && path.endsWith(template);
    }

    private static String methods(List<Endpoint> endpoints) {
        List<String> methods = endpoints.stream().map(Endpoint::method).distinct().toList();
        String named = methods.stream().limit(MOST_NAMED).collect(Collectors.joining(", "));
        return methods.size() > MOST_NAMED ? named + " and " + (methods.size() - MOST_NAMED) + " more" : named;
    }

    private static int number(String[] steps, int index, int size) {
        if (steps.length <= index || !steps[index].matches("[0-9]{1,6}")) {
            return -1;
        }
        int number = Integer.parseInt(steps[index]);
        return number < size ? number : -1;
    }
}
