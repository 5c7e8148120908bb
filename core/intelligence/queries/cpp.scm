(class_specifier body: (_)) @class
(namespace_definition) @module
(alias_declaration) @type
(concept_definition) @type
(template_declaration) @lead

(function_declarator declarator: [(field_identifier) (destructor_name) (operator_name)] @name)
(operator_cast "operator" @name)
(function_declarator declarator: (qualified_identifier) @name.qualified)

(field_declaration
  declarator: [
    (function_declarator)
    (pointer_declarator declarator: (function_declarator))
    (reference_declarator (function_declarator))
  ]) @method.signature
(declaration
  declarator: [
    (function_declarator declarator: [(destructor_name) (operator_name)])
    (reference_declarator (function_declarator declarator: (identifier)))
    (operator_cast)
  ]) @function.signature

["catch" "and" "or"] @decision
(reference_declarator "&&" @decision.not)
(abstract_reference_declarator "&&" @decision.not)
(ref_qualifier "&&" @decision.not)
(operator_name ["&&" "||"] @decision.not)
(fold_expression operator: _ @decision.not)
